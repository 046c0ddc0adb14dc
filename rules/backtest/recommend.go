package backtest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/model"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Swept is the table of one rule's sweep.
type Swept struct {
	Rule     string `json:"rule"`
	Operator string `json:"operator,omitempty"`
	Own      Pair   `json:"own"`
	Rows     []Row  `json:"rows,omitempty"` // thresholds first
	Best     *Row   `json:"best,omitempty"` // nil where no outcome is known
	Why      string `json:"why"`            // of the best, or why there is none
}

// Row is what one pair would have done.
type Row struct {
	Pair
	Score
	Margin int `json:"margin"` // how many steps of the threshold either way decide alike
}

// sum gives the table of the rule numbered i; none where the sweep was not asked for.
func (p Plan) sum(rule string, i int, results []Result) []Swept {
	if why, not := p.Not[rule]; not {
		return []Swept{{Rule: rule, Why: "not swept: " + why}}
	}
	pairs := p.Pairs[rule]
	if len(pairs) == 0 {
		return nil
	}
	s := Swept{Rule: rule, Operator: p.Op[rule], Own: p.Own[rule]}
	for k, pair := range pairs {
		row := Row{Pair: pair}
		for _, one := range results {
			if k < len(one.Rules[i].Pairs) {
				tried := one.Rules[i].Pairs[k]
				row.add(one.Release, tried.Verdict, tried.At, false)
			}
		}
		row.sum()
		s.Rows = append(s.Rows, row)
	}
	s.margins()
	s.recommend()
	return []Swept{s}
}

// alike says whether two rows decide the labeled releases alike.
func alike(a, b Row) bool {
	return a.False == b.False && a.Caught == b.Caught && a.Missed == b.Missed && a.Unsure == b.Unsure && a.Unknown == b.Unknown
}

// columns gives how many times of `for` there are to each threshold.
func (s Swept) columns() int {
	n := 0
	for n < len(s.Rows) && s.Rows[n].Threshold == s.Rows[0].Threshold {
		n++
	}
	return n
}

// run gives the first and the last row around k of the same `for` that decide alike.
func (s Swept) run(k int) (first, last int) {
	n := s.columns()
	for first = k; first-n >= 0 && alike(s.Rows[first-n], s.Rows[k]); first -= n {
	}
	for last = k; last+n < len(s.Rows) && alike(s.Rows[last+n], s.Rows[k]); last += n {
	}
	return first, last
}

func (s Swept) margins() {
	n := s.columns()
	for k := range s.Rows {
		first, last := s.run(k)
		s.Rows[k].Margin = min(k-first, last-k) / n
	}
}

// recommend finds the best pair: no false rollback first, then the fewest that are missed, could not
// be told or are not known, then the shortest detection, then the widest margin, then what is nearest to the rule's own.
func (s *Swept) recommend() {
	best := 0
	for k := range s.Rows {
		if s.order(k, best) < 0 {
			best = k
		}
	}
	row := s.Rows[best]
	switch row.Labeled {
	case 0:
		s.Why = "no outcome is labeled, so nothing can be recommended: say good or bad in the list of releases"
		return
	case row.Unknown:
		s.Why = "the data of every labeled release is lost, so nothing can be recommended"
		return
	}
	s.Best = &row
	s.Why = s.explain(best)
}

func (s Swept) order(i, j int) int {
	a, b := s.Rows[i], s.Rows[j]
	return cmp.Or(
		cmp.Compare(a.False, b.False),
		cmp.Compare(a.Missed+a.Unsure+a.Unknown, b.Missed+b.Unsure+b.Unknown),
		cmp.Compare(long(a.Median), long(b.Median)),
		cmp.Compare(long(a.Worst), long(b.Worst)),
		cmp.Compare(b.Margin, a.Margin),
		cmp.Compare(s.far(i), s.far(j)),
	)
}

func long(d *gatekeeper.Duration) gatekeeper.Duration {
	if d == nil {
		return 1 << 62
	}
	return *d
}

// far gives how many steps of the table a row is from the rule's own.
func (s Swept) far(k int) int {
	n := s.columns()
	own := slices.IndexFunc(s.Rows, func(r Row) bool { return r.Pair == s.Own })
	return max(k/n-own/n, own/n-k/n) + max(k%n-own%n, own%n-k%n)
}

func (s Swept) explain(k int) string {
	row := s.Rows[k]
	why := fmt.Sprintf("%s, %s missed", count(row.False, "false rollback"), number(row.Missed))
	if n := row.Unsure + row.Unknown; n > 0 {
		why += fmt.Sprintf(", %d that can't be told", n)
	}
	if row.Median != nil {
		why += fmt.Sprintf("; it detects after %s (median), %s at worst", Span(time.Duration(*row.Median)), Span(time.Duration(*row.Worst)))
	}
	if first, last := s.run(k); first != last {
		why += fmt.Sprintf("; thresholds from %s to %s decide alike", Number(s.Rows[first].Threshold), Number(s.Rows[last].Threshold))
	} else {
		why += "; the thresholds next to it decide otherwise"
	}
	if row.Pair == s.Own {
		why += "; it is the rule's own"
	}
	return why
}

func number(n int) string {
	if n == 0 {
		return "none"
	}
	return strconv.Itoa(n)
}

func count(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// Span writes a time in seconds, minutes and so on, without those that are 0.
func Span(d time.Duration) string { return model.Duration(d.Round(time.Second)).String() }

// Number writes a threshold as short as it is exact.
func Number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
