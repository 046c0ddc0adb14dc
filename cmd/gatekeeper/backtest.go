package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/backtest"
)

// backtestTimeout is the deadline of one query with all its retries: a long range takes its time, and a
// backend that asks to come back later may mean a minute.
const backtestTimeout = 2 * time.Minute

// backtesting is what the command backtest was asked to do.
type backtesting struct {
	backend  metricBackend
	past     past
	out      backtestFormat
	pictures pictures

	phases, concurrency int
	sweep               bool
	thresholds          []float64
	waits               []string
	rule                string
	resume              string
}

func backtestCommand() *cobra.Command {
	var b backtesting
	cmd := &cobra.Command{
		Use:   "backtest FILE... --backend URL (--journal | --releases LIST | --find LABEL --metric SELECTOR)",
		Short: "Replay health files over past releases: what would have been rolled back, and when",
		Long: `Backtest replays health files over past releases against a metric backend, by range queries and the
daemon's own evaluation: whether and when each rule would have decided, in how many slot phases, and,
where outcomes are known, which rollbacks would have been false, what would have been missed and how
long it takes to detect. With --sweep it tries other thresholds and times of "for", and recommends a pair.

Past releases come from the journal (--journal: of a running daemon, or with --data-dir or --snapshot), from
a list (--releases), or from the changes of a version label in the metrics (--find, --metric). A list is CSV
with a header, or JSON: version, deployed, and service, environment, previous_version, window, ended, labels,
outcome (good, bad, unknown), bad_since, id.

What comes after the first fire does not count, and data that the backend has lost is unknown, never a
pass. Nothing is changed anywhere. An interrupt prints what is done; with --resume the same command goes on.`,
		Args: cobra.MinimumNArgs(1),
	}
	b.flags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return b.run(cmd, args) }
	return cmd
}

func (b *backtesting) flags(f *pflag.FlagSet) {
	b.backend.flags(f, "that holds the metrics")
	b.past.flags(f)
	b.out = backtestFormat(asText)
	f.VarP(&b.out, "output", "o", "text, json, yaml or csv (the sweep's table; without --sweep the rules of each release)")
	f.StringVar(&b.rule, "rule", "", "replay this rule only")
	f.IntVar(&b.phases, "phases", 10, "how many slot phases to try")
	f.BoolVar(&b.sweep, "sweep", false, "try other thresholds and times of for")
	f.Float64SliceVar(&b.thresholds, "threshold", nil, "thresholds to try, instead of multiples of each rule's own; implies --sweep")
	f.StringSliceVar(&b.waits, "for", nil, "times of for to try, instead of 0s to 10m; implies --sweep")
	f.IntVar(&b.concurrency, "concurrency", 4, "releases that are replayed at once")
	f.StringVar(&b.resume, "resume", "", "file to keep what is done in, and to go on from")
	b.pictures.flags(f)
}

// job is everything that the results rest on; it tells whether a state is of the same backtest.
type job struct {
	Bundles  []rules.Bundle
	Releases []backtest.Release
	Backend  string
	Phases   int
	Sweep    backtest.Sweep
	Rule     string
}

func (b *backtesting) run(cmd *cobra.Command, args []string) error {
	if err := b.pictures.check(b.sweep || len(b.thresholds)+len(b.waits) > 0); err != nil {
		return err
	}
	q, err := b.backend.open(backtestTimeout, 2*max(b.concurrency, 1))
	if err != nil {
		return err
	}
	if q == nil {
		return usagef("--backend is needed: the URL of the Prometheus that holds the metrics")
	}
	defer func() { _ = q.Close() }() // it only lets go of idle connections
	j, files, err := b.job(cmd.Context(), args, q)
	if err != nil {
		return err
	}
	var state *backtest.State
	if b.resume != "" {
		if state, err = backtest.OpenState(b.resume, j); err != nil {
			return err
		}
	}
	var reports []backtest.Report
	var stopped error
	for i, file := range files {
		if stopped != nil {
			break
		}
		var report backtest.Report
		report, stopped, err = b.one(cmd, j, file, j.Bundles[i].Name, q, state)
		if err != nil {
			return err
		}
		reports = append(reports, report)
	}
	if err := errors.Join(state.Close(), b.out.print(cmd.OutOrStdout(), reports)); err != nil {
		return err
	}
	if stopped == nil {
		stopped = b.pictures.draw(reports)
	} else if b.resume != "" {
		say(cmd, "what is done is kept in %s: the same command goes on from there", b.resume)
	}
	return stopped
}

// job reads what there is to do.
func (b *backtesting) job(ctx context.Context, args []string, q rules.Querier) (job, []*rules.File, error) {
	j := job{Backend: b.backend.url, Phases: b.phases, Rule: b.rule}
	if b.phases < 1 || b.phases > 100 || b.concurrency < 1 || b.concurrency > 64 {
		return j, nil, usagef("--phases is from 1 to 100, --concurrency from 1 to 64")
	}
	j.Sweep = backtest.Sweep{On: b.sweep || len(b.thresholds)+len(b.waits) > 0, Thresholds: b.thresholds}
	for _, text := range b.waits {
		wait, err := model.ParseDuration(text)
		if err != nil {
			return j, nil, usagef("--for %q is no duration, such as 90s", text)
		}
		j.Sweep.Waits = append(j.Sweep.Waits, time.Duration(wait))
	}
	var files []*rules.File
	for _, name := range args {
		bundle, err := rules.ReadBundle(name)
		if err != nil {
			return j, nil, err
		}
		file, err := rules.Load(bundle)
		if err == nil {
			err = file.CheckBackend(q)
		}
		if err != nil {
			return j, nil, err
		}
		if b.rule != "" && !slices.ContainsFunc(file.Rules, func(r rules.Rule) bool { return r.Name == b.rule }) {
			return j, nil, gatekeeper.Errorf(gatekeeper.CodeNotFound, "gatekeeper check shows the rules of a file", "%s has no rule %q", name, b.rule)
		}
		files, j.Bundles = append(files, file), append(j.Bundles, bundle)
	}
	list, err := b.past.read(ctx, q)
	if err != nil {
		return j, nil, err
	}
	j.Releases = backtest.Arrange(list)
	return j, files, b.pictures.among(j.Releases)
}

// one replays one health file. Stopped is why not every release was replayed.
func (b *backtesting) one(cmd *cobra.Command, j job, file *rules.File, name string, q rules.Querier, state *backtest.State) (report backtest.Report, stopped, err error) {
	list := backtest.Of(file, j.Releases)
	if len(list) == 0 {
		return report, nil, gatekeeper.Errorf(gatekeeper.CodeNotFound, "look at its service and environment, and at --since", "none of the %d past releases is one that %s is for", len(j.Releases), name)
	}
	bar := newProgress(cmd.ErrOrStderr(), name, len(list))
	results, stopped := backtest.Run(cmd.Context(), file, list, q, backtest.Options{
		Phases: j.Phases, Concurrency: b.concurrency, Sweep: j.Sweep, Rule: j.Rule,
		Known: func(id string) (backtest.Result, bool) { return state.Known(name, id) },
		Done: func(r backtest.Result) error {
			bar.step()
			return state.Keep(name, r)
		},
	})
	bar.end()
	report, err = backtest.NewReport(file, name, results, len(list), j.Sweep)
	if err == nil {
		err = b.pictures.trail(cmd.Context(), report, file, list, q, backtest.Options{Rule: j.Rule})
	}
	return report, stopped, err
}

// backtestFormat is how reports are printed.
type backtestFormat string

const asCSV backtestFormat = "csv"

var backtestFormats = []backtestFormat{backtestFormat(asText), backtestFormat(asJSON), backtestFormat(asYAML), asCSV}

// String gives the format's name.
func (f *backtestFormat) String() string { return string(*f) }

// Set takes one of the names.
func (f *backtestFormat) Set(s string) error {
	if !slices.Contains(backtestFormats, backtestFormat(s)) {
		return fmt.Errorf("want text, json, yaml or csv")
	}
	*f = backtestFormat(s)
	return nil
}

// Type is what the help calls it.
func (f *backtestFormat) Type() string { return "format" }

// progress is a bar on a terminal; elsewhere it is nothing.
type progress struct {
	to          *os.File // nil: no terminal
	name        string
	done, whole int
	begin       time.Time
}

func newProgress(w any, name string, whole int) *progress {
	p := &progress{name: name, whole: whole, begin: time.Now()}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.to = f
		p.show()
	}
	return p
}

func (p *progress) step() {
	p.done++
	p.show()
}

func (p *progress) show() {
	if p.to == nil {
		return
	}
	const wide = 30
	full := wide * p.done / max(p.whole, 1)
	left := ""
	if p.done > 0 && p.done < p.whole {
		each := time.Since(p.begin) / time.Duration(p.done)
		left = ", " + (each * time.Duration(p.whole-p.done)).Round(time.Second).String() + " left"
	}
	fmt.Fprintf(p.to, "\r\x1b[K%s [%s%s] %d of %d releases%s", p.name, strings.Repeat("=", full), strings.Repeat(" ", wide-full), p.done, p.whole, left)
}

// end takes the bar away, for what is printed then says more.
func (p *progress) end() {
	if p.to != nil {
		fmt.Fprint(p.to, "\r\x1b[K")
	}
}
