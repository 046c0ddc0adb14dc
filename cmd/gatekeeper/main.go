// Command gatekeeper is the daemon that watches releases, and the command line that people and
// pipelines talk to it with.
//
//	            pipelines, people                       Prometheus, Alertmanager
//	                   │ release open …                        │ alerts
//	                   ▼                                       ▼
//	┌─ serve ─────────────────────────────────────────────────────────────────┐
//	│  internal/api ───────────────┐                 webhooks                 │
//	│                              ▼                    │                     │
//	│  internal/config ──────► engine ◄─────────────────┘                     │
//	│                          │  │  │                                        │
//	│        rules ◄───────────┘  │  └──────► internal/etcd (journal, flags)   │
//	│          │ PromQL           │ the rollback plan                         │
//	│          ▼                  ▼                                           │
//	│  internal/prometheus    actions/builtin ──► flags, HAProxy, HTTP, exec  │
//	│  internal/tsdb                                                          │
//	└──────────────────────────────┬──────────────────────────────────────────┘
//	                               ▼ holds, failures, rollbacks
//	                     internal/alertmanager, slack, pagerduty, webhook ──► people
//
// One file per command; wire.go puts the daemon together.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and gives the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	understood := false // from then on an error is not one of usage
	root := &cobra.Command{
		Use:           "gatekeeper",
		Short:         "Watches your metrics while you release, and takes the release back when they go bad",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		Version:       built().String(),
		PersistentPreRun: func(*cobra.Command, []string) {
			understood = true
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(
		serveCommand(), demoCommand(), checkCommand(), testCommand(), backtestCommand(), actionsCommand(), releaseCommand(), explainCommand(), killSwitchCommand(), flagCommand(), auditCommand(), tokenCommand(), schemaCommand(), docsCommand(), storeCommand(), versionCommand(),
	)
	root.SetVersionTemplate("{{.Version}}\n")
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !understood {
		err = misunderstood(cmd, args, err)
	}
	return report(stderr, err)
}
