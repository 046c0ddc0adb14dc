// Package timeline tells a release's facts to people: what was seen against what limit, what was
// done, and how long each step took. The same lines come out whether the facts are all there or
// arrive one by one.
package timeline

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Options say how a timeline looks.
type Options struct {
	Color    bool           // ANSI colours
	Location *time.Location // zone of the instants in the heading; nil: UTC
	Zero     time.Time      // what the time column counts from; zero: the deployment
}

// Timeline writes one release's lines. It is not safe for concurrent use.
type Timeline struct {
	out     io.Writer
	paint   palette
	zone    *time.Location
	release gatekeeper.Release
	zero    time.Time // what the time column counts from
	fixed   bool      // zero was given
	marks   marks
}

// New gives a timeline of one release that writes to w.
func New(w io.Writer, release string, o Options) *Timeline {
	zone := o.Location
	if zone == nil {
		zone = time.UTC
	}
	return &Timeline{out: w, paint: palette{on: o.Color}, zone: zone, zero: o.Zero, fixed: !o.Zero.IsZero(), release: gatekeeper.Release{ID: release}}
}

// Write tells a whole release, as far as it has come at now.
func Write(w io.Writer, release string, facts []gatekeeper.Fact, now time.Time, o Options) error {
	t := New(w, release, o)
	t.zero = deployedAt(facts)
	for _, f := range facts {
		if err := t.Add(f); err != nil {
			return err
		}
	}
	return t.Status(now)
}

// Color says whether f is a terminal whose user has not asked for plain text (https://no-color.org).
func Color(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// Release gives the sum of the facts told so far.
func (t *Timeline) Release() gatekeeper.Release { return t.release }

// Add tells one more fact. A fact that does not follow the last one is an error; one that was
// told already is passed over, so that a resumed stream may repeat some.
func (t *Timeline) Add(f gatekeeper.Fact) error {
	if f.Seq <= t.release.Seq {
		return nil
	}
	lines, err := t.follow(f)
	if err != nil {
		return err
	}
	var text strings.Builder
	if f.Seq == 1 {
		text.WriteString(t.heading())
	}
	for _, l := range lines {
		text.WriteString(t.row(f, l))
	}
	if t.release.Closed() {
		text.WriteString(t.ending())
	}
	_, err = io.WriteString(t.out, text.String())
	return err
}

// follow goes on by a fact and gives what it means.
func (t *Timeline) follow(f gatekeeper.Fact) ([]line, error) {
	before := t.release
	after, err := before.With(f)
	if err != nil {
		return nil, err
	}
	t.release = after
	if t.zero.IsZero() {
		t.zero = f.At
	}
	if !t.fixed && after.DeployedAt.Equal(f.At) && before.DeployedAt.IsZero() {
		t.zero = f.At
	}
	t.marks.note(f)
	return t.lines(before, f), nil
}

// heading names the release.
func (t *Timeline) heading() string {
	r := t.release
	var b strings.Builder
	what := fmt.Sprintf("%s %s in %s", Plain(r.Service), Plain(r.Version), Plain(r.Environment))
	if r.Purpose == gatekeeper.PurposeRollback {
		what = "rollback of " + what
	}
	b.WriteString(t.paint.bold(what))
	if r.PreviousVersion != "" {
		fmt.Fprintf(&b, ", before it %s", Plain(r.PreviousVersion))
	}
	fmt.Fprintf(&b, "\nrelease %s, opened %s", Plain(r.ID), r.OpenedAt.In(t.zone).Format("2006-01-02 15:04:05 MST"))
	if r.OpenedBy != "" {
		fmt.Fprintf(&b, " by %s", Plain(r.OpenedBy))
	}
	b.WriteString("\n\n")
	return b.String()
}

// line is one line of the timeline before it is laid out.
type line struct {
	label string
	tone  tone
	text  string
	took  string   // what lasted how long; empty where nothing ended
	more  []string // indented lines below
}

// actor gives whose doing a fact was, where the line does not say so itself.
func (l line) actor(f gatekeeper.Fact) string {
	if strings.Contains(l.text, "by "+f.Actor) {
		return ""
	}
	return Plain(f.Actor)
}

const (
	clockWidth = 8
	labelWidth = 15
)

func (t *Timeline) row(f gatekeeper.Fact, l line) string {
	var b strings.Builder
	label := fmt.Sprintf("%-*s", labelWidth, l.label)
	fmt.Fprintf(&b, "%*s  %s%s", clockWidth, Clock(f.At.Sub(t.zero)), t.paint.tone(l.tone, label), Plain(l.text))
	if actor := l.actor(f); actor != "" && f.Seq != 1 {
		fmt.Fprintf(&b, " (%s)", actor)
	}
	if l.took != "" {
		b.WriteString("  " + t.paint.dim("["+l.took+"]"))
	}
	b.WriteByte('\n')
	for _, m := range l.more {
		fmt.Fprintf(&b, "%*s%s\n", clockWidth+2+labelWidth, "", Plain(m))
	}
	return b.String()
}

func deployedAt(facts []gatekeeper.Fact) time.Time {
	for _, f := range facts {
		if _, ok := f.Body.(gatekeeper.Deployed); ok {
			return f.At
		}
	}
	return time.Time{}
}
