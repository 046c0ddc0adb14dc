package main

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules/backtest"
)

// print writes the reports of all files.
func (f *backtestFormat) print(w io.Writer, reports []backtest.Report) error {
	if *f == asCSV {
		return writeCSV(w, reports)
	}
	as := format(*f)
	if done, err := as.machine(w, reports); done {
		return err
	}
	for i, r := range reports {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := printBacktest(w, r); err != nil {
			return err
		}
	}
	return nil
}

func printBacktest(w io.Writer, r backtest.Report) error {
	fmt.Fprintf(w, "%s, over %d releases\n\n", r.File, len(r.Releases))
	rows := [][]string{{"RELEASE", "DEPLOYED", "WAS", "WOULD HAVE", "AFTER", "PHASES", "WHY"}}
	for _, one := range r.Releases {
		rows = append(rows, []string{
			one.Release.ID, one.Release.Deployed.UTC().Format("2006-01-02 15:04:05Z"), string(one.Release.Outcome),
			wouldHave(one.Decision.Verdict), after(one), phases(one.Phases), one.Decision.Why,
		})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	if r.Missing > 0 {
		fmt.Fprintf(w, "\n%d more releases were not replayed.\n", r.Missing)
	}
	fmt.Fprintln(w)
	if err := printScores(w, r); err != nil {
		return err
	}
	for _, s := range r.Sweeps {
		fmt.Fprintln(w)
		if err := printSweep(w, s); err != nil {
			return err
		}
	}
	return nil
}

func wouldHave(v backtest.Verdict) string {
	switch v {
	case backtest.RollsBack:
		return "rolled back"
	case backtest.Holds:
		return "held"
	default:
		return string(v)
	}
}

// after tells how long after the deploy something would have happened.
func after(r backtest.Result) string {
	if r.Decision.At.IsZero() {
		return "-"
	}
	return backtest.Span(r.Decision.At.Sub(r.Release.Deployed))
}

// phases tells how much hangs on where the slots lie.
func phases(p backtest.Phases) string {
	s := fmt.Sprintf("%d of %d", p.Fired, p.Of)
	if spread := p.Last.Sub(p.First); p.Fired > 1 && spread > 0 {
		s += ", within " + backtest.Span(spread)
	}
	return s
}

func printScores(w io.Writer, r backtest.Report) error {
	rows := [][]string{{"RULE", "FIRES", "FALSE", "CAUGHT", "MISSED", "CAN'T TELL", "UNKNOWN", "DETECTS AFTER", "AT WORST", "PHASE DECIDES"}}
	all := r.Rules
	if len(all) > 1 {
		whole := r.Whole
		whole.Rule = "all together"
		all = append(all[:len(all):len(all)], whole)
	}
	for _, s := range all {
		cells := []string{s.Rule, strconv.Itoa(s.Fires)}
		if s.Labeled == 0 {
			cells = append(cells, "-", "-", "-", "-", "-", "-", "-")
		} else {
			for _, n := range []int{s.False, s.Caught, s.Missed, s.Unsure, s.Unknown} {
				cells = append(cells, strconv.Itoa(n))
			}
			cells = append(cells, span(s.Median), span(s.Worst))
		}
		rows = append(rows, append(cells, strconv.Itoa(s.Split)))
	}
	if err := table(w, rows); err != nil {
		return err
	}
	if r.Whole.Labeled == 0 {
		fmt.Fprintln(w, "No outcome is known, so nothing can be called false or missed.")
	}
	return nil
}

func span(d *gatekeeper.Duration) string {
	if d == nil {
		return "-"
	}
	return backtest.Span(time.Duration(*d))
}

// printSweep prints a rule's table, thresholds down and times of `for` across.
func printSweep(w io.Writer, s backtest.Swept) error {
	if len(s.Rows) == 0 {
		_, err := fmt.Fprintf(w, "%s: %s\n", s.Rule, s.Why)
		return err
	}
	fmt.Fprintf(w, "%s with other thresholds and times: %s\n", s.Rule, cellsAre(s))
	var rows [][]string
	var row []string
	head := []string{""}
	for i, r := range s.Rows {
		if i == 0 || r.Threshold != s.Rows[i-1].Threshold {
			row = []string{s.Operator + " " + backtest.Number(r.Threshold)}
			rows = append(rows, row)
		}
		if len(rows) == 1 {
			head = append(head, "for "+backtest.Span(time.Duration(r.For)))
		}
		rows[len(rows)-1] = append(rows[len(rows)-1], cellText(s, r))
	}
	if err := table(w, append([][]string{head}, rows...)); err != nil {
		return err
	}
	if s.Best == nil {
		_, err := fmt.Fprintf(w, "%s\n", s.Why)
		return err
	}
	_, err := fmt.Fprintf(w, "recommended (*): %s %s for %s: %s\n", s.Operator, backtest.Number(s.Best.Threshold), backtest.Span(time.Duration(s.Best.For)), s.Why)
	return err
}

// cellsAre says what stands in the cells of a sweep's table.
func cellsAre(s backtest.Swept) string {
	if s.Rows[0].Labeled == 0 {
		return "how many releases it fires in"
	}
	return "false rollbacks/missed, and how long it takes to detect"
}

// cellText tells what a pair would have done; the rule's own is in brackets, the best has a star.
func cellText(s backtest.Swept, r backtest.Row) string {
	text := strconv.Itoa(r.Fires)
	if r.Labeled > 0 {
		text = fmt.Sprintf("%d/%d", r.False, r.Missed)
		if n := r.Unsure + r.Unknown; n > 0 {
			text += fmt.Sprintf("/%d?", n)
		}
		if r.Median != nil {
			text += " " + span(r.Median)
		}
	}
	if r.Pair == s.Own {
		text = "[" + text + "]"
	}
	if s.Best != nil && r.Pair == s.Best.Pair {
		text += "*"
	}
	return text
}

// writeCSV writes the sweeps, a line for each pair; without sweeps a line for each rule of a release.
func writeCSV(w io.Writer, reports []backtest.Report) error {
	out := csv.NewWriter(w)
	swept := false
	for _, r := range reports {
		swept = swept || len(r.Sweeps) > 0
	}
	var lines [][]string
	for _, r := range reports {
		if swept {
			lines = append(lines, sweepLines(r)...)
		} else {
			lines = append(lines, releaseLines(r)...)
		}
	}
	head := []string{"file", "release", "deployed", "outcome", "rule", "route", "verdict", "at", "since", "coverage", "phases", "phases_fired", "why"}
	if swept {
		head = []string{"file", "rule", "operator", "threshold", "for", "fires", "labeled", "false_rollbacks", "caught", "missed", "inconclusive", "unknown", "median_seconds", "worst_seconds", "margin", "own", "recommended"}
	}
	return cmp.Or(out.Write(head), out.WriteAll(lines))
}

func sweepLines(r backtest.Report) (lines [][]string) {
	for _, s := range r.Sweeps {
		for _, row := range s.Rows {
			line := []string{r.File, s.Rule, s.Operator, backtest.Number(row.Threshold), backtest.Span(time.Duration(row.For))}
			for _, n := range []int{row.Fires, row.Labeled, row.False, row.Caught, row.Missed, row.Unsure, row.Unknown} {
				line = append(line, strconv.Itoa(n))
			}
			line = append(line, seconds(row.Median), seconds(row.Worst), strconv.Itoa(row.Margin),
				strconv.FormatBool(row.Pair == s.Own), strconv.FormatBool(s.Best != nil && row.Pair == s.Best.Pair))
			lines = append(lines, safe(line))
		}
	}
	return lines
}

func releaseLines(r backtest.Report) (lines [][]string) {
	for _, one := range r.Releases {
		for _, rule := range one.Rules {
			d := rule.Decision
			lines = append(lines, safe([]string{
				r.File, one.Release.ID, moment(one.Release.Deployed), string(one.Release.Outcome), rule.Rule, rule.Do, string(d.Verdict), moment(d.At), moment(d.Since),
				strconv.FormatFloat(rule.Coverage, 'f', 3, 64), strconv.Itoa(rule.Phases.Of), strconv.Itoa(rule.Phases.Fired), d.Why,
			}))
		}
	}
	return lines
}

func seconds(d *gatekeeper.Duration) string {
	if d == nil {
		return ""
	}
	return strconv.FormatFloat(time.Duration(*d).Seconds(), 'f', -1, 64)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// safe keeps a spreadsheet from taking a text of a label or version for a formula.
func safe(line []string) []string {
	for i, text := range line {
		if _, err := strconv.ParseFloat(text, 64); err != nil && strings.IndexAny(text, "=+-@\t\r") == 0 {
			line[i] = "'" + text
		}
	}
	return line
}
