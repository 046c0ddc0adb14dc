package explain

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/chart"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

// Options say how [Explanation.Write] writes.
type Options struct {
	Rule     string         // only this rule; "": all of them
	Terminal chart.Terminal // for the chart; no columns: none is drawn
}

// writer collects lines; texts of others are made safe for a terminal.
type writer struct {
	e Explanation
	o Options
	b strings.Builder
}

// Write tells the explanation to a person.
func (e Explanation) Write(w io.Writer, o Options) error {
	out := &writer{e: e, o: o}
	out.head()
	for _, r := range e.Rules {
		if o.Rule == "" || o.Rule == r.Name {
			out.rule(r)
		}
	}
	out.guards()
	out.done()
	if e.Replay != nil {
		out.line("")
		out.line("%s.", e.Replay.Says())
		for _, g := range e.Replay.Missing {
			out.line("  %s: the record has no slots from %s to %s", g.Rule, out.when(g.From), out.when(g.To))
		}
	}
	if _, err := io.WriteString(w, out.b.String()); err != nil {
		return err
	}
	c, ok := e.Chart(o.Rule)
	if !ok || o.Terminal.Columns == 0 {
		return nil
	}
	if _, err := fmt.Fprintf(w, "\n%s\n\n", out.bold(timeline.Plain(c.Title))); err != nil {
		return err
	}
	return c.Text(w, o.Terminal)
}

func (w *writer) line(format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = timeline.Plain(s)
		}
	}
	fmt.Fprintf(&w.b, format+"\n", args...)
}

func (w *writer) bold(s string) string {
	if !w.o.Terminal.Color {
		return s
	}
	return "\x1b[1m" + s + "\x1b[0m"
}

func (w *writer) title(s string) { fmt.Fprintf(&w.b, "\n%s\n", w.bold(timeline.Plain(s))) }

// when gives an instant since the deploy, and on the clock.
func (w *writer) when(t time.Time) string {
	return w.e.clock(t) + " (" + t.UTC().Format("15:04:05") + ")"
}

func (w *writer) head() {
	e := w.e
	before := ""
	if e.PreviousVersion != "" {
		before = ", before it " + e.PreviousVersion
	}
	fmt.Fprintln(&w.b, w.bold(timeline.Plain(fmt.Sprintf("%s %s in %s", e.Service, e.Version, e.Environment)))+timeline.Plain(before))
	name := ""
	if e.Release != "" { // facts do not name their release
		name = "release " + e.Release + ", "
	}
	w.line("%s", name+"opened "+e.OpenedAt.UTC().Format("2006-01-02 15:04:05 UTC")+by(e.release.OpenedBy))
	if e.DeployedAt.IsZero() {
		w.line("never deployed: times count from the opening")
	} else {
		w.line("deployed %s, which is 0:00", e.DeployedAt.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	w.line("")
	w.line("%s.", strings.TrimRight(e.Answer, "."))
}

func (r Rule) limit() string {
	operator, number, found := strings.Cut(r.Limit, " ")
	if !found {
		return r.Limit
	}
	var v float64
	if _, err := fmt.Sscanf(number, "%g", &v); err != nil {
		return r.Limit
	}
	return operator + " " + r.unit.Format(v)
}

// rule tells what one rule said.
func (w *writer) rule(r Rule) {
	w.title(r.Name)
	var is []string
	if limit := r.limit(); limit != "" {
		is = append(is, "bad when "+limit)
	}
	if r.For > 0 {
		is = append(is, "for "+timeline.Span(time.Duration(r.For)))
	}
	if r.Interval > 0 {
		is = append(is, "asked every "+timeline.Span(time.Duration(r.Interval)))
	}
	if r.Route != "" {
		is = append(is, "its route: "+r.Route)
	}
	if len(is) > 0 {
		w.line("  %s", strings.Join(is, ", "))
	}
	if r.Expr != "" {
		w.line("  %s", strings.Join(strings.Fields(r.Expr), " "))
	}
	for _, one := range r.Recorded {
		w.line("    %s is %s", one.Name, strings.Join(strings.Fields(one.Expr), " "))
	}
	if r.First.IsZero() {
		w.line("  no slot of it that counted is in the record")
		for _, n := range r.Notes {
			w.line("  note: %s", n)
		}
		return
	}
	covered := fmt.Sprintf("%s counted from %s to %s, %d with data", counted(r.Slots, "slot"), w.e.clock(r.First), w.e.clock(r.Last), r.Data)
	if r.Slots > 0 {
		covered += fmt.Sprintf(": %.3g%%", 100*float64(r.Data)/float64(r.Slots))
	}
	if r.coverage > 0 {
		covered += fmt.Sprintf(" (to pass it takes %.3g%%)", 100*r.coverage)
	}
	w.line("  %s", covered)
	if r.Worst != nil {
		w.line("  at its worst %s, at %s", r.unit.Format(float64(*r.Worst.Value)), w.when(r.Worst.At))
	}
	for _, n := range r.Notes {
		w.line("  note: %s", n)
	}
	if len(r.Streaks) == 0 {
		w.line("  never bad while it counted")
	}
	for _, s := range r.Streaks {
		w.streak(r, s)
	}
}

// maxRows is how many slots of a streak are written; those between the first and the last are left out.
const maxRows = 24

func (w *writer) streak(r Rule, s Streak) {
	head := fmt.Sprintf("bad from %s: %s counted", w.when(s.Since), timeline.Span(time.Duration(s.Counted)))
	if r.For > 0 {
		head += " of " + r.wait()
	}
	if s.Unanswered > 0 {
		head += ", " + timeline.Span(time.Duration(s.Unanswered)) + " unanswered"
	}
	switch {
	case !s.FullAt.IsZero():
		head += ", full at " + w.when(s.FullAt)
	case !s.WellAt.IsZero():
		head += ", healthy again at " + w.when(s.WellAt)
	}
	w.line("  %s", head)
	for i, slot := range s.Slots {
		if len(s.Slots) > maxRows && i >= maxRows/2 && i < len(s.Slots)-maxRows/2 {
			if i == maxRows/2 {
				w.line("        … %s between", counted(len(s.Slots)-maxRows, "slot"))
			}
			continue
		}
		w.slot(r, s, slot)
	}
}

func (w *writer) slot(r Rule, s Streak, slot Slot) {
	value, says := "-", timeline.Words(string(slot.Verdict))
	if slot.Value != nil {
		value = r.unit.Format(float64(*slot.Value))
	}
	count := timeline.Span(time.Duration(slot.Counted))
	if r.For > 0 {
		count += " of " + r.wait()
	}
	if slot.Unanswered > 0 {
		count += fmt.Sprintf(", %s unanswered", timeline.Span(time.Duration(slot.Unanswered)))
	}
	if slot.Extra {
		count += ", asked between slots"
	}
	if !slot.Known.IsZero() {
		count += ", known at " + w.e.clock(slot.Known)
	}
	if slot.At.Equal(s.FullAt) {
		count += ": full"
	}
	fmt.Fprintf(&w.b, "    %8s  %s  %9s  %-10s %s\n", w.e.clock(slot.At), slot.At.UTC().Format("15:04:05"), value, says, count)
}

// guards tells what stood between a breach and the decision.
func (w *writer) guards() {
	w.title("Guards")
	for _, g := range w.e.Guards {
		w.line("  %8s  %s  %s: %s", w.e.clock(g.At), g.At.UTC().Format("15:04:05"), timeline.Words(g.Guard), g.Says)
		if g.How != "" {
			w.line("  %8s  %s    %s", w.e.clock(g.Ended), g.Ended.UTC().Format("15:04:05"), g.How)
		} else if !g.Until.IsZero() {
			w.line("  %8s            until %s at the latest", "", w.when(g.Until))
		}
	}
	switch d := w.e.Decision; {
	case d != nil && (d.Cause == gatekeeper.CauseBreach || d.Cause == gatekeeper.CauseBlind || d.Cause == gatekeeper.CauseInconclusive):
		w.line("  %8s  %s  every guard let the rollback pass: kill switch, target check, freezes, irreversible mark, cool-down, route",
			w.e.clock(w.e.DecidedAt), w.e.DecidedAt.UTC().Format("15:04:05"))
	case d != nil:
		w.line("  %8s  %s  no guard was asked: a person decided", w.e.clock(w.e.DecidedAt), w.e.DecidedAt.UTC().Format("15:04:05"))
	case len(w.e.Guards) == 0:
		w.line("  none was asked: nothing breached")
	}
}

func (w *writer) done() {
	if len(w.e.Done) == 0 {
		return
	}
	w.title("Done")
	for _, s := range w.e.Done {
		text := fmt.Sprintf("%-15s %s", s.What, s.Says)
		if s.Actor != "" {
			text += " (" + s.Actor + ")"
		}
		if s.Took != "" {
			text += "  [" + s.Took + "]"
		}
		w.line("  %8s  %s  %s", w.e.clock(s.At), s.At.UTC().Format("15:04:05.000"), text)
		for _, m := range s.More {
			w.line("  %8s                %s", "", m)
		}
	}
}
