package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// What the linker sets where there is no repository to read it from, as in an image's build:
// -X main.release=1.2.3 -X main.commit=… -X main.date=….
var release, commit, date string

// build is what the program was built from and by.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Date     string `json:"date,omitempty"` // of the commit, RFC 3339
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// built gives the build's data: what the linker set, else what Go noted of the repository.
func built() build {
	b := build{Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	noted := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.Version = info.Main.Version
		for _, s := range info.Settings {
			noted[s.Key] = s.Value
		}
	}
	b.Version = cmp.Or(release, b.Version, "(devel)")
	b.Commit, b.Date = cmp.Or(commit, noted["vcs.revision"]), cmp.Or(date, noted["vcs.time"])
	b.Modified = commit == "" && noted["vcs.modified"] == "true"
	return b
}

// String gives one line: gatekeeper 1.2.3, commit 4711abc… of 2026-01-02T15:04:05Z, go1.26 linux/amd64.
func (b build) String() string {
	s := "gatekeeper " + b.Version
	if b.Commit != "" {
		s += ", commit " + b.Commit
	}
	if b.Date != "" {
		s += " of " + b.Date
	}
	if b.Modified {
		s += " with changes"
	}
	return s + ", " + b.Go + " " + b.Platform
}

func version() string { return built().Version }

func versionCommand() *cobra.Command {
	var out format
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version, and what it was built from", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if done, err := out.machine(cmd.OutOrStdout(), built()); done {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), built())
			return err
		},
	}
	out.flags(cmd.Flags())
	return cmd
}
