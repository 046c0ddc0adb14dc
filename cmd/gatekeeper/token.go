package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
)

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "token", Short: "Make tokens for the daemon's configuration",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(tokenNewCommand())
	return cmd
}

// newToken is a fresh token: its secret, and its entry in the configuration.
type newToken struct {
	Token string     `json:"token"`
	Entry tokenEntry `json:"entry"`
}

type tokenEntry struct {
	Name     string   `json:"name" yaml:"name"`
	Scopes   []string `json:"scopes" yaml:"scopes,flow"`
	Services []string `json:"services,omitempty" yaml:"services,flow,omitempty"`
	Hash     string   `json:"token_hash" yaml:"token_hash"`
}

func tokenNewCommand() *cobra.Command {
	var out format
	var entry tokenEntry
	cmd := &cobra.Command{
		Use:   "new --name NAME --scope SCOPE...",
		Short: "Print a fresh token, once, and its entry for the daemon's configuration",
		Long: `New prints a fresh token and its entry for the daemon's configuration, which holds its hash only.
The token is stored nowhere: give it to the client now.`,
		Args: cobra.NoArgs,
	}
	out.flags(cmd.Flags())
	cmd.Flags().StringVar(&entry.Name, "name", "", "who the token is for: the actor in the journal")
	cmd.Flags().StringSliceVar(&entry.Scopes, "scope", nil, "what it may do: open, operate, alerts or read; may be repeated")
	cmd.Flags().StringSliceVar(&entry.Services, "service", nil, "a glob of services that it is for; may be repeated; default: all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if entry.Name == "" || len(entry.Scopes) == 0 {
			return usageError{gatekeeper.Errorf(gatekeeper.CodeInvalid, "such as: gatekeeper token new --name ci --scope open", "a token needs a --name and a --scope")}
		}
		if _, err := scopesOf(entry.Scopes); err != nil {
			return err
		}
		if err := gatekeeper.Globs(entry.Services).Err(); err != nil {
			return err
		}
		secret := api.NewSecret()
		entry.Hash = api.HashSecret(secret)
		if done, err := out.machine(cmd.OutOrStdout(), newToken{secret, entry}); done {
			return err
		}
		text, err := yaml.Marshal([]tokenEntry{entry})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "# the token, shown this once:\n%s\n# its entry below tokens: of the daemon's configuration:\n%s", secret, text)
		return err
	}
	return cmd
}
