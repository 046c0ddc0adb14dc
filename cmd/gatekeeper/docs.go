package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gatekeeper-engine/gatekeeper/actions/builtin"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
)

// generated says on the first line of a reference page where it comes from.
const generated = "<!-- Written by `gatekeeper docs %s`; do not edit. -->\n\n"

func docsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "docs", Short: "Print the reference in Markdown, from the code",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		&cobra.Command{Use: "commands", Short: "Print the reference of the command line", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, generated+"# The command line\n", "commands")
			writeCommand(w, cmd.Root())
			return nil
		}},
		&cobra.Command{Use: "actions", Short: "Print the reference of the actions", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			registry, err := builtin.Registry(nil)
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, generated+"# Actions\n", "actions")
			for _, a := range describe(registry) {
				writeAction(w, a)
			}
			return nil
		}},
	)
	return cmd
}

// writeCommand writes a command with what it takes, then the commands below it.
func writeCommand(w io.Writer, cmd *cobra.Command) {
	if cmd.Name() == "help" || cmd.Hidden {
		return
	}
	fmt.Fprintf(w, "\n## %s\n\n%s.\n", cmd.CommandPath(), cmd.Short)
	if cmd.Long != "" {
		fmt.Fprintf(w, "\n%s\n", cmd.Long)
	}
	if cmd.Runnable() && !cmd.HasSubCommands() {
		fmt.Fprintf(w, "\n```\n%s\n```\n", cmd.UseLine())
	}
	var rows strings.Builder
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			fmt.Fprintf(&rows, "| `--%s` | %s | %s |\n", f.Name, cell(defaultOf(f)), cell(f.Usage))
		}
	})
	if rows.Len() > 0 {
		fmt.Fprintf(w, "\n| flag | default | meaning |\n|---|---|---|\n%s", rows.String())
	}
	for _, below := range cmd.Commands() {
		writeCommand(w, below)
	}
}

// defaultOf gives a flag's default, but for those that the environment sets: it is not the page's.
func defaultOf(f *pflag.Flag) string {
	if f.DefValue == "" || f.DefValue == "[]" || strings.Contains(f.Usage, "(GATEKEEPER_") {
		return ""
	}
	return "`" + f.DefValue + "`"
}

func writeAction(w io.Writer, a api.Action) {
	fmt.Fprintf(w, "\n## %s\n\n%s\n\n%s.\n", a.Name, a.Doc, strings.ToUpper(retries[a.Safety][:1])+retries[a.Safety][1:])
	if a.Connection != "" {
		fmt.Fprintf(w, "\nIt needs a connection of kind `%s`.\n", a.Connection)
		writeSettings(w, "the connection", a.Connects)
	}
	writeSettings(w, "`with`", a.Settings)
}

func writeSettings(w io.Writer, of string, all []api.Setting) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(w, "\n| key of %s | type | meaning |\n|---|---|---|\n", of)
	for _, row := range settingRows(nil, "", all) {
		name := strings.TrimLeft(row[0], " ")
		fmt.Fprintf(w, "| %s`%s` | %s | %s |\n", strings.Repeat("&nbsp;", len(row[0])-len(name)), name, row[1], cell(row[2]))
	}
}

// cell makes text safe for a table of Markdown.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(s)
}
