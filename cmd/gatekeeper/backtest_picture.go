package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/chart"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/backtest"
)

// pictures are what to draw: the chart of one release, or the table of a sweep.
type pictures struct {
	release  string
	svg, png string

	chart *chart.Chart // of the release, once it was found
}

func (p *pictures) flags(f *pflag.FlagSet) {
	f.StringVar(&p.release, "release", "", "draw this release, by its id, instead of the sweep")
	f.StringVar(&p.svg, "svg", "", "write the picture as SVG to this file: the sweep's table, or with --release a chart")
	f.StringVar(&p.png, "png", "", "the same as PNG")
}

// check says whether there will be something to draw.
func (p *pictures) check(sweep bool) error {
	wanted := given(p.svg)+given(p.png) > 0
	switch {
	case p.release != "" && !wanted:
		return usagef("--release needs --svg or --png")
	case wanted && p.release == "" && !sweep:
		return usagef("--svg and --png draw a sweep's table, or with --release a chart: give --sweep or --release")
	}
	return nil
}

// among says whether the release that is to be drawn is there.
func (p *pictures) among(list []backtest.Release) error {
	if p.release == "" || slices.ContainsFunc(list, func(r backtest.Release) bool { return r.ID == p.release }) {
		return nil
	}
	return gatekeeper.Errorf(gatekeeper.CodeNotFound, "the table of releases shows their ids", "there is no past release %q", p.release)
}

// trail finds the release to draw in a report. What an earlier run found has no slots: it is replayed again.
func (p *pictures) trail(ctx context.Context, report backtest.Report, file *rules.File, list []backtest.Release, q rules.Querier, o backtest.Options) error {
	if p.release == "" || p.chart != nil {
		return nil
	}
	i := slices.IndexFunc(list, func(r backtest.Release) bool { return r.ID == p.release })
	if i < 0 {
		return nil
	}
	at := slices.IndexFunc(report.Releases, func(r backtest.Result) bool { return r.Release.ID == p.release && len(r.Rules[0].Trail) > 0 })
	if at >= 0 {
		c := chartOf(report.Releases[at])
		p.chart = &c
		return nil
	}
	again, err := backtest.Run(ctx, file, list[i:i+1], q, o)
	if err == nil {
		c := chartOf(again[0])
		p.chart = &c
	}
	return err
}

// chartOf draws the rule that decided first, or else the first.
func chartOf(r backtest.Result) chart.Chart {
	worst := 0
	for i, rule := range r.Rules {
		if at := rule.Decision.At; !at.IsZero() && (r.Rules[worst].Decision.At.IsZero() || at.Before(r.Rules[worst].Decision.At)) {
			worst = i
		}
	}
	rule := r.Rules[worst]
	marks := []chart.Mark{{At: r.Release.Deployed, Label: "deployed"}}
	if !r.Release.BadSince.IsZero() {
		marks = append(marks, chart.Mark{At: r.Release.BadSince, Label: "bad since"})
	}
	if at := rule.Decision.At; !at.IsZero() {
		marks = append(marks, chart.Mark{At: at, Label: map[string]string{rules.Rollback: "would roll back", rules.Hold: "would hold", rules.Notify: "would tell"}[rule.Do], Loud: true})
	}
	if e := r.Release.Ended; !e.IsZero() && len(rule.Trail) > 0 && !e.After(rule.Trail[len(rule.Trail)-1].At) {
		marks = append(marks, chart.Mark{At: e, Label: "taken away"})
	}
	slices.SortStableFunc(marks, func(a, b chart.Mark) int { return a.At.Compare(b.At) })
	subtitle := fmt.Sprintf("%s %s in %s, backtest: %s", r.Release.Service, r.Release.Version, r.Release.Environment, rule.Decision.Verdict)
	return chart.OfTrail(rule.Rule, subtitle, r.Release.Version, rule.Limit, r.Release.Deployed, rule.Trail, marks)
}

// draw writes the pictures to the files that were asked for.
func (p *pictures) draw(reports []backtest.Report) error {
	if given(p.svg)+given(p.png) == 0 {
		return nil
	}
	if p.release != "" {
		if p.chart == nil {
			return gatekeeper.Errorf(gatekeeper.CodeNotFound, "look at the service and environment of the health files", "release %q is none that a health file is for", p.release)
		}
		return drawFiles(*p.chart, p.svg, p.png, pictureWidth, pictureHeight)
	}
	for _, r := range reports {
		for _, s := range r.Sweeps {
			if len(s.Rows) > 0 {
				t := sweepTable(s)
				return drawFiles(t, p.svg, p.png, max(pictureWidth, 120*len(t.Columns)+120), max(pictureHeight, 26*len(t.Rows)+130))
			}
		}
	}
	return gatekeeper.Errorf(gatekeeper.CodeUnsupported, "the report says why", "no rule was swept, so there is nothing to draw")
}

// drawing is a chart or a table.
type drawing interface {
	SVG(w io.Writer, width, height int) error
	PNG(w io.Writer, width, height int) error
}

// drawFiles writes a drawing to the files that are named.
func drawFiles(d drawing, svg, png string, width, height int) error {
	width, height = min(width, chart.MaxWidth), min(height, chart.MaxHeight)
	for _, picture := range []struct {
		path string
		draw func(w io.Writer, width, height int) error
	}{{svg, d.SVG}, {png, d.PNG}} {
		if picture.path == "" {
			continue
		}
		f, err := os.Create(picture.path)
		if err != nil {
			return gatekeeper.Errorf(gatekeeper.CodeInvalid, "name a file in a folder that you can write to", "the chart can't be written: %w", err)
		}
		if err := errors.Join(picture.draw(f, width, height), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// sweepTable shades each pair by what it would have done.
func sweepTable(s backtest.Swept) chart.Table {
	t := chart.Table{Title: s.Rule, Subtitle: s.Why, Across: "for (in the cells: " + cellsAre(s) + ")", Down: "threshold"}
	for i, r := range s.Rows {
		if i == 0 || r.Threshold != s.Rows[i-1].Threshold {
			t.Rows = append(t.Rows, s.Operator+" "+backtest.Number(r.Threshold))
			t.Cells = append(t.Cells, nil)
		}
		last := len(t.Cells) - 1
		if last == 0 {
			t.Columns = append(t.Columns, backtest.Span(time.Duration(r.For)))
		}
		t.Cells[last] = append(t.Cells[last], chart.Cell{
			Text: cellText(s, r), Shade: shadeOf(r), Own: r.Pair == s.Own, Best: s.Best != nil && r.Pair == s.Best.Pair,
		})
	}
	return t
}

func shadeOf(r backtest.Row) chart.Shade {
	switch {
	case r.Labeled == 0 || r.Labeled == r.Unknown:
		return chart.Blank
	case r.False > 0:
		return chart.Poor
	case r.Missed+r.Unsure > 0:
		return chart.Fair
	}
	return chart.Well
}
