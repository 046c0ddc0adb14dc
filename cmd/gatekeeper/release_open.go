package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/client"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// opening is the command line of release open.
type opening struct {
	body          api.OpenBody
	file          string
	planFile      string
	labels        map[string]string
	window        time.Duration
	heartbeat     time.Duration
	ifUnreachable unreachable
	wait          bool
	timeout       time.Duration
	endedWithin   time.Duration
	out           format
}

func (o *opening) flags(f *pflag.FlagSet) {
	b := &o.body
	f.StringVarP(&o.file, "file", "f", "", "health file, or a plain Prometheus rule file; it is sent along")
	f.StringVar(&b.HealthFile, "health-file", "", "name of a health file in the daemon's own folder")
	f.StringVar(&b.Service, "service", "", "service that is released; default: the health file's")
	f.StringVar(&b.Environment, "environment", "", "where; default: the health file's, or default")
	f.StringVar(&b.Version, "version", "", "version that is released")
	f.StringVar(&b.PreviousVersion, "previous-version", "", "version to return to; default: that of the newest passed release")
	f.StringToStringVar(&o.labels, "set-label", nil, "value of ${labels.x} in the health file: x=value; repeatable")
	f.StringVar(&b.Plan, "plan", "", "a rollback plan of the daemon's, for a health file that has none")
	f.StringVar(&o.planFile, "plan-file", "", "file with a rollback plan, for a health file that has none")
	f.DurationVar(&o.window, "window", 0, "how long to watch; default: the health file's")
	f.BoolVar(&b.WatchOnly, "watch-only", false, "judge and tell, never roll back")
	f.BoolVar(&b.DryRun, "dry-run", false, "record what would have been done")
	f.BoolVar(&b.AfterDeploy, "after-deploy", false, "the new version is there already")
	f.BoolVar(&b.Deployed, "deployed", false, "start the window at once")
	f.DurationVar(&o.heartbeat, "heartbeat", 0, "promise a sign of life at least so often, until deployed and while waiting; people are told when none comes; 0: none")
	f.StringVar(&b.ID, "id", "", "your id for it, such as the pipeline's: the same request again gives the same release; default: a new one")
	f.StringVar(&b.TraceParent, "trace-parent", os.Getenv("TRACEPARENT"), "the pipeline's span, as W3C's header traceparent: the release's trace goes on from it (TRACEPARENT)")
	f.StringVar(&b.Actor, "actor", env("GATEKEEPER_ACTOR", os.Getenv("USER")), "on whose behalf, for the journal (GATEKEEPER_ACTOR)")
	o.ifUnreachable.flags(f)
	f.BoolVar(&o.wait, "wait", false, "follow it until it ends; the exit code is its outcome")
	f.DurationVar(&o.timeout, "timeout", 0, "with --wait: give up after so long (exit code 6); 0: never")
	f.DurationVar(&o.endedWithin, "ended-within", 0, "for a step that has no id to go on with: where the newest release is of this version and ended less than so long ago, that one is the answer; needs --service")
	o.out.flags(f)
}

func openCommand() *cobra.Command {
	var o opening
	cmd := &cobra.Command{
		Use:   "open --version VERSION -f health.yml",
		Short: "Open a release; ends when every rung of its rollback plan is prepared, so deploy after it",
		Long: `Open pins the health file and what the rollback plan returns to, and prints the release's id
on standard output. Deploy after it ended, then say so: gatekeeper release deployed ID.`,
		Args: cobra.NoArgs,
	}
	o.flags(cmd.Flags())
	return remote(cmd, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		body, err := o.request()
		if err != nil {
			return err
		}
		r, ended, err := o.ended(cmd.Context(), c)
		if err == nil && !ended {
			r, err = c.Open(cmd.Context(), body)
		}
		if err != nil && o.ifUnreachable.forgives(cmd, err, false) {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), body.ID) // for the pipeline's next steps
			return err
		}
		if err != nil {
			return err
		}
		return o.opened(cmd, c, r)
	})
}

// request makes the call's body of the command line.
func (o *opening) request() (api.OpenBody, error) {
	b := o.body
	switch {
	case b.Version == "":
		return b, usagef("give the version that is released: --version 1.4.2")
	case (o.file == "") == (b.HealthFile == ""):
		return b, usagef("give a health file with -f, or the name of one of the daemon's with --health-file, and not both")
	case o.planFile != "" && b.Plan != "":
		return b, usagef("--plan and --plan-file exclude each other")
	case o.planFile != "" && o.file == "":
		return b, usagef("--plan-file needs the health file it belongs to: -f")
	case o.ifUnreachable.check() != nil:
		return b, o.ifUnreachable.check()
	case o.window < 0:
		return b, usagef("--window can't be negative")
	case o.endedWithin < 0 || o.endedWithin > 0 && b.Service == "":
		return b, usagef("--ended-within takes a duration above zero, and --service beside it")
	case o.heartbeat < 0:
		return b, usagef("--heartbeat can't be negative")
	}
	b.Labels, b.Window, b.Heartbeat = o.labels, gatekeeper.Duration(o.window), gatekeeper.Duration(o.heartbeat)
	if b.ID == "" {
		b.ID = ulid.Make().String()
	}
	if o.file == "" {
		return b, nil
	}
	bundle, err := rules.ReadBundle(o.file)
	if err != nil {
		return b, err
	}
	if o.planFile != "" {
		if bundle.File, err = withPlan(bundle.File, o.planFile); err != nil {
			return b, err
		}
	}
	b.Bundle = &bundle
	return b, nil
}

// withPlan gives the health file's text with the plan of a file below its rollback key.
func withPlan(text, planFile string) (string, error) {
	plan, err := os.ReadFile(planFile)
	if err != nil {
		return "", gatekeeper.Errorf(gatekeeper.CodeInvalid, "give --plan-file a file with a list of rungs", "the rollback plan can't be read: %w", err)
	}
	if _, err := rules.ParsePlan(plan); err != nil {
		return "", gatekeeper.Errorf(gatekeeper.CodeInvalid, "a plan is a list of rungs, as under rollback: in a health file", "%s: %w", planFile, err)
	}
	var b strings.Builder
	b.WriteString(strings.TrimRight(text, "\n") + "\nrollback:\n")
	for line := range strings.Lines(string(plan)) {
		b.WriteString("  " + line)
	}
	return b.String(), nil
}

// ended gives the newest release of the service and environment, where that is of the version and
// ended a short while ago.
func (o *opening) ended(ctx context.Context, c *client.Client) (r gatekeeper.Release, ok bool, err error) {
	if o.endedWithin == 0 {
		return r, false, nil
	}
	page, err := c.List(ctx, gatekeeper.Listing{Limit: 200})
	if err != nil {
		return r, false, err
	}
	for _, r := range page.Releases {
		if r.Service == o.body.Service && r.Environment == cmp.Or(o.body.Environment, "default") && r.Purpose != gatekeeper.PurposeRollback {
			return r, r.Version == o.body.Version && r.Closed() && time.Since(r.ClosedAt) < o.endedWithin, nil
		}
	}
	return r, false, nil
}

// opened tells what was opened.
func (o *opening) opened(cmd *cobra.Command, c *client.Client, r gatekeeper.Release) error {
	for i, rung := range r.Rungs {
		if !rung.Usable() {
			say(cmd, "warning: rung %d, %s, can't be used now: %s", i+1, rung.Action, rung.Problem)
		}
	}
	if o.wait {
		return wait(cmd, c, r.ID, o.timeout, o.out)
	}
	if done, err := o.out.machine(cmd.OutOrStdout(), r); done {
		return err
	}
	say(cmd, "%s", brief(r))
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), r.ID); err != nil || !r.Closed() {
		return err
	}
	return exit{outcomes[r.Outcome]} // the same id again, and it has ended: deploying it would not be watched
}
