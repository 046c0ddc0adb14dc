package demo

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

const (
	barWidth = 20
	quiet    = 5 * time.Second // between two lines that say the same
)

// screen writes the demo's own lines, in the columns of a timeline.
type screen struct {
	out   io.Writer
	color bool

	told string        // the last line of traffic, without its counts
	at   time.Duration // when that was
}

func newScreen(out io.Writer, color bool) *screen { return &screen{out: out, color: color} }

func (s *screen) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

func (s *screen) heading(text string) { s.say("\n%s\n", s.paint("1", "── "+text)) }

func (s *screen) good(format string, args ...any) {
	s.say("%s", s.paint("32", fmt.Sprintf(format, args...)))
}

func (s *screen) bad(format string, args ...any) {
	s.say("%s", s.paint("1;31", fmt.Sprintf(format, args...)))
}

// fact says that a line of the timeline stands between this and the last line of traffic.
func (s *screen) fact() { s.told = "" }

func (s *screen) paint(code, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// traffic writes what customers saw in the last second: the newest version's errors as a bar, then
// the other versions'. A line that says what the last one said is left out for a while.
func (s *screen) traffic(at time.Duration, newest string, seen map[string]Count) {
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(seen)), func(v string) bool { return v == newest })
	share := seen[newest].share()
	text := fmt.Sprintf("%s %s ", newest, bar(share))
	if n := seen[newest].Requests; n == 0 {
		text += "no requests"
	} else {
		text += fmt.Sprintf("%3.0f%% of %d requests failed", 100*share, n)
	}
	told := fmt.Sprintf("%s %v %.2f", newest, seen[newest].Requests == 0, share)
	for _, v := range others {
		text += fmt.Sprintf(" · %s %.0f%% of %d", v, 100*seen[v].share(), seen[v].Requests)
		told += fmt.Sprintf(" %s %.2f", v, seen[v].share())
	}
	if told == s.told && at-s.at < quiet {
		return
	}
	s.told, s.at = told, at
	code := "2"
	if share > 0 {
		code = "31"
	}
	s.say("%8s  %s", timeline.Clock(at), s.paint(code, fmt.Sprintf("%-15s%s", "traffic", text)))
}

func (c Count) share() float64 {
	if c.Requests == 0 {
		return 0
	}
	return float64(c.Failed) / float64(c.Requests)
}

func bar(share float64) string {
	n := int(math.Ceil(share * barWidth))
	return strings.Repeat("█", n) + strings.Repeat("░", barWidth-n)
}
