package timeline

import (
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Tone is how loud a line is.
type Tone string

// The tones.
const (
	Quiet Tone = "quiet"
	Good  Tone = "good"
	Warn  Tone = "warn"
	Bad   Tone = "bad"
)

var tones = map[tone]Tone{quiet: Quiet, good: Good, warn: Warn, bad: Bad}

// Line is one line of a timeline for those who lay it out themselves. Its texts hold no control
// characters; they are half trusted all the same and need escaping.
type Line struct {
	At    time.Time
	Clock string // since the deploy, such as 3:05; negative before it
	Actor string // whose doing it was, where Text does not say so; empty for Gatekeeper itself
	Tone  Tone
	Label string
	Text  string
	Took  string   // what lasted how long; empty where nothing ended
	More  []string // below it
}

// Told is a release told as data.
type Told struct {
	Release gatekeeper.Release // the sum of the facts
	Lines   []Line
	Times   string // how long each step of a rollback took; empty without one
}

// Tell tells a whole release: the same lines that [Write] writes, and one for its end.
func Tell(release string, facts []gatekeeper.Fact) (Told, error) {
	t := New(nil, release, Options{})
	t.zero = deployedAt(facts)
	var told Told
	for _, f := range facts {
		lines, err := t.follow(f)
		if err != nil {
			return Told{}, err
		}
		if closed, ok := f.Body.(gatekeeper.Closed); ok {
			lines = append(lines, line{label: Words(string(closed.Outcome)), tone: outcomeTone(closed.Outcome), text: closed.Why})
		}
		for _, l := range lines {
			told.Lines = append(told.Lines, t.open(f, l))
		}
	}
	told.Release, told.Times = t.release, t.marks.times()
	return told, nil
}

func (t *Timeline) open(f gatekeeper.Fact, l line) Line {
	out := Line{
		At: f.At, Clock: Clock(f.At.Sub(t.zero)), Actor: l.actor(f), Tone: tones[l.tone], Label: l.label, Text: Plain(l.text), Took: l.took,
	}
	for _, m := range l.more {
		out.More = append(out.More, Plain(m))
	}
	return out
}

// OutcomeTone says how loud an outcome is.
func OutcomeTone(o gatekeeper.Outcome) Tone { return tones[outcomeTone(o)] }

// Seen says what a reading found against what limit: "0.05, limit > 0.01".
func Seen(r gatekeeper.Reading) string { return Plain(seen(r)) }
