package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/actions/builtin"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
)

func actionsCommand() *cobra.Command {
	var out format
	cmd := &cobra.Command{
		Use: "actions [NAME...]", Short: "List the actions that a rollback plan may name, with their settings",
	}
	out.flags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		registry, err := builtin.Registry(nil)
		if err != nil {
			return err
		}
		all, err := chosen(describe(registry), names)
		if err != nil {
			return err
		}
		if done, err := out.machine(cmd.OutOrStdout(), api.ActionList{Actions: all}); done {
			return err
		}
		for i, a := range all {
			if i > 0 {
				fmt.Fprintln(cmd.OutOrStdout())
			}
			if err := printAction(cmd.OutOrStdout(), a); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// chosen gives the actions with these names; without names all.
func chosen(all []api.Action, names []string) ([]api.Action, error) {
	if len(names) == 0 {
		return all, nil
	}
	known := make(map[string]api.Action, len(all))
	var list []string
	for _, a := range all {
		known[a.Name] = a
		list = append(list, a.Name)
	}
	var out []api.Action
	for _, name := range names {
		a, ok := known[name]
		if !ok {
			return nil, usagef("there is no action %q%s", name, actions.Suggest(name, list))
		}
		out = append(out, a)
	}
	return out, nil
}

// describe gives the registry's specs as the API and this command show them.
func describe(registry *actions.Registry) []api.Action {
	specs := registry.Specs()
	out := make([]api.Action, len(specs))
	for i, s := range specs {
		out[i] = api.Action{
			Name: s.Name, Doc: s.Doc, Safety: string(s.Safety), Settings: settingsOf(s.Settings),
			Connection: s.Connection, Connects: settingsOf(s.Connects),
		}
	}
	return out
}

func settingsOf(all []actions.Setting) []api.Setting {
	out := make([]api.Setting, len(all))
	for i, s := range all {
		out[i] = api.Setting{Name: s.Name, Type: s.Type, Doc: s.Doc, Default: s.Default, Required: s.Required, Fields: settingsOf(s.Fields)}
	}
	return out
}

// retries says in words what an action promises.
var retries = map[string]string{
	"by_target": "retried until its target is observed",
	"by_key":    "retried with the same idempotency key",
	"none":      "never repeated after an unknown outcome",
}

func printAction(w io.Writer, a api.Action) error {
	fmt.Fprintf(w, "%s\n  %s\n  %s\n", a.Name, a.Doc, retries[a.Safety])
	rows := settingRows(nil, "    ", a.Settings)
	if a.Connection != "" {
		fmt.Fprintf(w, "  connection: kind %s\n", a.Connection)
		if err := table(w, settingRows(nil, "    ", a.Connects)); err != nil {
			return err
		}
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(w, "  with:")
	return table(w, rows)
}

func settingRows(rows [][]string, indent string, all []api.Setting) [][]string {
	for _, s := range all {
		notes := ""
		switch {
		case s.Required:
			notes = " (required)"
		case s.Default != "":
			notes = fmt.Sprintf(" (default %s)", s.Default)
		}
		rows = append(rows, []string{indent + s.Name, s.Type, strings.TrimSpace(s.Doc) + notes})
		rows = settingRows(rows, indent+"  ", s.Fields)
	}
	return rows
}
