package ruletest

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

// Write tells a person what became of a file's tests: each failure where it stands, and for a release
// one timeline of what happened and what was expected.
func (r Result) Write(w io.Writer, o timeline.Options) error {
	var b strings.Builder
	for _, warning := range r.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", warning)
	}
	for _, t := range r.Tests {
		word := "ok  "
		if !t.Passed {
			word = "FAIL"
		}
		fmt.Fprintf(&b, "%s  %s:%d  %s  (%s)\n", word, r.File, t.Line, t.Name, timeline.Span(time.Duration(t.Seconds*float64(time.Second)).Round(time.Millisecond)))
		for _, f := range t.Failures {
			f.write(&b, r.File)
		}
		for _, s := range t.Releases {
			if len(s.Failures) == 0 {
				continue
			}
			if err := s.write(&b, r.File, o); err != nil {
				return err
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (f Failure) write(b *strings.Builder, file string) {
	fmt.Fprintf(b, "      %s:%d:%d: %s\n", file, f.Line, f.Column, strings.ReplaceAll(f.Says, "\n", "\n      "))
	if f.missed != nil {
		return // the timeline shows it
	}
	for _, side := range []struct {
		label string
		lines []string
	}{{"expected", f.Expected}, {"happened", f.Happened}} {
		if len(f.Expected)+len(f.Happened) == 0 {
			continue
		}
		lines := side.lines
		if len(lines) == 0 {
			lines = []string{"nothing"}
		}
		for i, line := range lines {
			label := side.label
			if i > 0 {
				label = ""
			}
			fmt.Fprintf(b, "        %-8s  %s\n", label, line)
		}
	}
}

// entry is a line of the timeline.
type entry struct {
	at   time.Duration
	rank int
	text string
}

// write tells a release's story: the failures, and the timeline with the expectations in it.
func (s Story) write(b *strings.Builder, file string, o timeline.Options) error {
	for _, f := range s.Failures {
		f.write(b, file)
	}
	if len(s.Facts) == 0 {
		return nil
	}
	var entries []entry
	var out bytes.Buffer
	o.Zero = s.start
	line := timeline.New(&out, s.id, o)
	for _, f := range s.Facts {
		out.Reset()
		if err := line.Add(f); err != nil {
			return err
		}
		rank := 0
		if line.Release().Closed() {
			rank = 3 // the ending stands below what was expected of it
		}
		if out.Len() > 0 {
			entries = append(entries, entry{f.At.Sub(s.start), rank, out.String()})
		}
	}
	for _, e := range s.held {
		if e.At != nil {
			entries = append(entries, entry{*e.At, 1, mark(e, "expected", e.String(), file)})
		}
	}
	last := lastOf(s.Facts).Sub(s.start)
	for _, f := range s.Failures {
		if f.missed == nil {
			continue
		}
		at := last
		if f.missed.At != nil {
			at = *f.missed.At
		}
		entries = append(entries, entry{at, 2, mark(*f.missed, "WRONG", f.Says, file)})
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.rank, b.rank)) })
	b.WriteByte('\n')
	for _, e := range entries {
		for text := range strings.Lines(e.text) {
			if text = strings.TrimRight(text, "\n"); text != "" {
				text = "      " + text
			}
			fmt.Fprintln(b, text)
		}
	}
	b.WriteByte('\n')
	return nil
}

// mark is an expectation's line, laid out as the timeline's own.
func mark(e Expectation, label, text, file string) string {
	at := ""
	if e.At != nil {
		at = timeline.Clock(*e.At)
	}
	return fmt.Sprintf("%8s  %-15s%s   %s:%d:%d\n", at, label, text, file, e.Line, e.Column)
}

func lastOf(facts []gatekeeper.Fact) time.Time {
	if len(facts) == 0 {
		return time.Time{}
	}
	return facts[len(facts)-1].At
}

// The elements of JUnit's XML, as CI systems read them.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name     string         `xml:"name,attr"`
		Class    string         `xml:"classname,attr"`
		File     string         `xml:"file,attr"`
		Line     int            `xml:"line,attr"`
		Time     string         `xml:"time,attr"`
		Failures []junitFailure `xml:"failure"`
		Error    *junitFailure  `xml:"error"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes the results of files, and the errors of those that could not be run, as JUnit's XML.
func WriteJUnit(w io.Writer, results []Result, broken map[string]error) error {
	var all junitSuites
	for _, r := range results {
		suite := junitSuite{Name: r.File, Tests: len(r.Tests)}
		total := 0.0
		for _, t := range r.Tests {
			total += t.Seconds
			one := junitCase{Name: t.Name, Class: r.File, File: r.File, Line: t.Line, Time: fmt.Sprintf("%.3f", t.Seconds)}
			for _, f := range t.Failures {
				var text strings.Builder
				f.write(&text, r.File)
				one.Failures = append(one.Failures, junitFailure{f.Says, text.String()})
			}
			for _, s := range t.Releases {
				if len(s.Failures) == 0 {
					continue
				}
				var text strings.Builder
				if err := s.write(&text, r.File, timeline.Options{}); err != nil {
					return err
				}
				one.Failures = append(one.Failures, junitFailure{s.Failures[0].Says, text.String()})
			}
			if !t.Passed {
				suite.Failures++
			}
			suite.Cases = append(suite.Cases, one)
		}
		suite.Time = fmt.Sprintf("%.3f", total)
		all.Suites = append(all.Suites, suite)
	}
	for _, name := range sortedNames(broken) {
		all.Suites = append(all.Suites, junitSuite{Name: name, Tests: 1, Errors: 1, Time: "0.000", Cases: []junitCase{
			{Name: "read", Class: name, File: name, Line: 1, Time: "0.000", Error: &junitFailure{"the file can't be run", broken[name].Error()}},
		}})
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func sortedNames(all map[string]error) []string { return slices.Sorted(maps.Keys(all)) }
