package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/etcd"
	"github.com/gatekeeper-engine/gatekeeper/internal/retention"
)

// pruning is what the command store prune was asked to do.
type pruning struct {
	at         connection
	why        reason
	out        format
	dataDir    string
	configFile string
	olderThan  string
	dryRun     bool
}

// pruned is what came of it; an embedded store's file is made smaller only by a stopped daemon's.
type pruned struct {
	retention.Report
	SizeBefore int64 `json:"size_before,omitempty"` // bytes of the store's file
	Size       int64 `json:"size,omitempty"`
}

func storePruneCommand() *cobra.Command {
	var p pruning
	cmd := &cobra.Command{
		Use: "prune --older-than AGE", Short: "Remove releases that are over and old from a store",
		Long: `Prune removes the releases whose last fact is older than AGE, such as 180d or 4320h, at least 24h: from
the store of a running daemon, which needs the scope operate, of a stopped one with --data-dir, or from the
external etcd of a configuration with --config, whether daemons run on it or not. A daemon does the same
by itself every hour, by store.retention of its configuration.

Releases are removed whole, and audit records by the same age. Open releases stay, and so does what the
engine reads back: what open releases refer to, and of each service and environment the newest release
that says which version is live, and the newest that was rolled back. What it would remove is told by
--dry-run, with -o wide one by one.

Before --config, update the daemons that run on that etcd: older ones open releases without a lock on
the health files that they pin, and prune would take those for unused.

With --data-dir the file is made smaller at once. A running daemon fills the free room with new releases,
and makes its file smaller when it starts while no release is open. An external etcd is compacted and
defragmented by its operator.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.run(cmd) },
	}
	f := cmd.Flags()
	p.at.flags(f)
	p.why.flags(f)
	p.out.flags(f)
	f.StringVar(&p.dataDir, "data-dir", "", dataDirUsage)
	f.StringVar(&p.configFile, "config", "", "configuration of daemons whose store: is an external etcd, or of a stopped one")
	f.StringVar(&p.olderThan, "older-than", "", "how long ago a release's last fact must be, such as 180d")
	f.BoolVar(&p.dryRun, "dry-run", false, "remove nothing, tell what would be removed")
	return cmd
}

func (p *pruning) run(cmd *cobra.Command) error {
	if p.olderThan == "" {
		return usagef("say how old a release must be, such as --older-than 180d")
	}
	age, err := model.ParseDuration(p.olderThan)
	if err != nil {
		return usagef("--older-than: %v", err)
	}
	if err := retention.Check(time.Duration(age)); err != nil {
		return err
	}
	if given(p.dataDir)+given(p.configFile) > 1 {
		return usagef("--data-dir and --config exclude each other")
	}
	done, err := p.prune(cmd.Context(), time.Duration(age))
	if err != nil {
		if n := len(done.Releases); n > 0 && !p.dryRun {
			err = gatekeeper.Errorf(gatekeeper.CodeOf(err), gatekeeper.HintOf(err), "%s had been removed: %w", counted(n, "release"), err)
		}
		return err
	}
	return p.print(cmd, done)
}

func (p *pruning) prune(ctx context.Context, age time.Duration) (pruned, error) {
	switch {
	case p.dataDir != "":
		return p.pruneDir(ctx, storeDir(p.dataDir), age)
	case p.configFile != "":
		s, err := configured(p.configFile)
		if err != nil {
			return pruned{}, err
		}
		if s.external == nil {
			return p.pruneDir(ctx, storeDir(s.DataDir), age)
		}
		return p.pruneExternal(ctx, *s.external, age)
	}
	daemon, err := p.at.dial()
	if err != nil {
		return pruned{}, err
	}
	report, err := daemon.Prune(ctx, age, p.dryRun, p.why.by())
	return pruned{Report: report}, err
}

// pruneDir prunes the store of a stopped daemon, and makes its file smaller.
func (p *pruning) pruneDir(ctx context.Context, dir string, age time.Duration) (pruned, error) {
	s, err := openStopped(ctx, dir)
	if err != nil {
		return pruned{}, err
	}
	done := pruned{SizeBefore: s.Space().Size}
	done.Report, err = p.pruneIn(ctx, s, age, s.Shrink)
	done.Size = s.Space().Size
	return done, errors.Join(err, s.Close())
}

func (p *pruning) pruneExternal(ctx context.Context, cfg etcd.ExternalConfig, age time.Duration) (pruned, error) {
	starting, stop := context.WithTimeout(ctx, startTimeout)
	defer stop()
	x, err := etcd.Connect(starting, cfg, nil)
	if err != nil {
		return pruned{}, err
	}
	report, err := p.pruneIn(ctx, x, age, func(context.Context) error { return nil })
	return pruned{Report: report}, errors.Join(err, x.Close())
}

// pruneIn prunes a store and has it made smaller; until then a full one takes no record of who asked.
func (p *pruning) pruneIn(ctx context.Context, s store, age time.Duration, shrink func(context.Context) error) (retention.Report, error) {
	journal, err := s.Beside(ctx)
	if err != nil {
		return retention.Report{}, err
	}
	before := time.Now().Add(-age)
	if p.dryRun {
		return retention.Prune(ctx, journal, before, true)
	}
	prune := func() (retention.Report, error) {
		report, err := retention.Prune(ctx, journal, before, false)
		if err == nil || len(report.Releases) > 0 {
			err = errors.Join(err, shrink(ctx))
		}
		return report, err
	}
	record := func(ctx context.Context, r gatekeeper.AuditRecord) error {
		_, err := journal.Audit(ctx, r)
		return err
	}
	by := gatekeeper.By{Actor: cmp.Or(p.why.actor, "local"), Means: gatekeeper.MeansLocal, Why: p.why.why}
	return retention.Requested(ctx, record, by, before, prune)
}

func (p *pruning) print(cmd *cobra.Command, done pruned) error {
	if ok, err := p.out.machine(cmd.OutOrStdout(), done); ok || err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	if p.out == asWide {
		if err := printRemoved(w, done.Releases); err != nil {
			return err
		}
	}
	facts := 0
	for _, r := range done.Releases {
		facts += r.Facts
	}
	what := "removed"
	if done.DryRun {
		what = "would remove"
	}
	fmt.Fprintf(w, "%s %s with %s, whose last fact was before %s", what, counted(len(done.Releases), "release"), counted(facts, "fact"), done.Before.Local().Format(time.RFC3339))
	if done.Files > 0 {
		fmt.Fprintf(w, ", and %s that no other release needs", counted(done.Files, "pinned file"))
	}
	if done.Audits > 0 {
		fmt.Fprintf(w, ", and %s as old", counted(done.Audits, "audit record"))
	}
	fmt.Fprintln(w)
	if done.Kept > 0 {
		fmt.Fprintf(w, "%s as old stay: they say which versions are live and what was rolled back, or an open release refers to them\n", counted(done.Kept, "release"))
	}
	for _, id := range done.Unreadable {
		fmt.Fprintf(w, "release %s can't be read and stays: see gatekeeper store verify\n", id)
	}
	if done.Size > 0 && !done.DryRun {
		fmt.Fprintf(w, "the store's file has %d MiB, before it had %d MiB\n", done.Size>>20, done.SizeBefore>>20)
	}
	return nil
}

func printRemoved(w io.Writer, all []retention.Removed) error {
	rows := [][]string{{"ID", "SERVICE", "ENVIRONMENT", "VERSION", "OUTCOME", "LAST FACT", "FACTS"}}
	for _, r := range all {
		rows = append(rows, []string{r.ID, r.Service, r.Environment, r.Version, string(r.Outcome), r.Last.Local().Format(time.RFC3339), strconv.Itoa(r.Facts)})
	}
	return table(w, rows)
}
