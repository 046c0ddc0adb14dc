package timeline

import (
	"fmt"

	"github.com/gatekeeper-engine/gatekeeper"
)

// judged tells what a rule says where that is news: its verdict, or that it became pending or
// stopped being so. A fact that only keeps a track tells nothing.
func (t *Timeline) judged(before gatekeeper.Release, f gatekeeper.Fact, b gatekeeper.Judged) []line {
	name := b.Track.Rule
	old, known := before.Tracks[name]
	if before.State == gatekeeper.Verifying {
		old, known = before.Recovery[name]
		if before.PreviousVersion != "" {
			name += " on " + before.PreviousVersion // the rules are bound to what it returned to
		}
	}
	was, is := old.Pending(), b.Track.Pending()
	switch {
	case b.Preexisting && !before.Preexisting[name]:
		return []line{{"preexisting", warn, fmt.Sprintf("%s: %s; it was so before, so it does not count until it was well once", name, seen(b.Reading)), "", nil}}
	case b.Reading.Verdict.Blind():
		if known && old.Verdict == b.Reading.Verdict {
			return nil
		}
		return []line{{blindLabel(b.Reading.Verdict), warn, name + detail(b.Reading), "", nil}}
	case was.IsZero() && !is.IsZero():
		return []line{pending(before, name, b)}
	case !was.IsZero() && is.IsZero() && b.Reading.Verdict == gatekeeper.Healthy:
		return []line{{"healthy again", good, name + ": " + seen(b.Reading), since("bad for", was, f.At), nil}}
	case known && old.Verdict == b.Reading.Verdict:
		return nil
	}
	return changed(name, b)
}

func pending(before gatekeeper.Release, name string, b gatekeeper.Judged) line {
	label := "pending"
	if before.State == gatekeeper.Verifying {
		label = "still bad"
	}
	l := line{label, bad, name + ": " + seen(b.Reading), "", nil}
	if b.Reading.Summary != "" {
		l.more = []string{b.Reading.Summary}
	}
	return l
}

func changed(name string, b gatekeeper.Judged) []line {
	switch b.Reading.Verdict {
	case gatekeeper.Healthy:
		return []line{{"healthy", good, name + ": " + seen(b.Reading), "", nil}}
	case gatekeeper.Unhealthy:
		return []line{{"unhealthy", bad, name + ": " + seen(b.Reading), "", nil}}
	case gatekeeper.NoTraffic:
		return []line{{"no traffic", warn, name + detail(b.Reading), "", nil}}
	case gatekeeper.NoData, gatekeeper.Lopsided, gatekeeper.NoAnswer:
	}
	return nil
}

func detail(r gatekeeper.Reading) string {
	if r.Detail == "" {
		return ""
	}
	return ": " + r.Detail
}

func blindLabel(v gatekeeper.Verdict) string {
	if v == gatekeeper.NoAnswer {
		return "no answer"
	}
	return Words(string(v))
}
