package lint

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// checkLag finds rules that decide after the release is over.
var checkLag = &Spec{
	Name:  "lag",
	Finds: "a rule that decides later than the release's window lasts",
	Why:   "The release has passed before the rule can say that it should not.",
	rule:  lintLag,
}

// Lag is how long after a step from nothing to some harm a rule decides, at the latest.
type Lag struct {
	Rule     string        `json:"rule"`
	Harm     string        `json:"harm"`    // such as "5% errors"
	Range    time.Duration `json:"-"`       // the rule's longest range
	Share    float64       `json:"share"`   // of the range that must be harm, in [0, 1]: limit by harm
	For      time.Duration `json:"-"`       //
	Scrape   time.Duration `json:"-"`       // until a sample shows the harm, and query_offset
	Interval time.Duration `json:"-"`       // until a look finds it
	Seconds  float64       `json:"seconds"` // of Total
	WarmUp   time.Duration `json:"-"`       // before anything counts
}

// Total is when the rule decides: a range crosses its limit once its share of it is harm, a scrape and
// a look later that is seen, and for later it is decided.
func (l Lag) Total() time.Duration {
	return time.Duration(l.Share*float64(l.Range)) + l.Scrape + l.Interval + l.For
}

// String says it in a sentence.
func (l Lag) String() string {
	return fmt.Sprintf("at %s this rule decides after about %s", l.Harm, model.Duration(l.Total().Round(time.Second)))
}

func lintLag(r *rule) []finding {
	lag, ok := lagOf(r)
	if !ok || lag.WarmUp+lag.Total() <= r.file.Window {
		return nil
	}
	key := "expr"
	if lag.For > lag.Total()/2 {
		key = "for"
	}
	return []finding{r.about(rules.Error, key,
		fmt.Sprintf("%s; the release's window is %s", lag, model.Duration(r.file.Window)),
		"Take a shorter range or for, or a longer window.")}
}

// multiple is how many times its limit the harm is for which the lag is told: the 5% of a limit of 1%.
const multiple = 5

// lagOf computes a rule's lag. ok is false for what compares no value with a number.
func lagOf(r *rule) (Lag, bool) {
	l := Lag{Rule: r.Name, For: r.For, Scrape: r.scrape + r.QueryOffset, Interval: r.Interval, WarmUp: r.WarmUp, Range: r.longest(), Share: 1}
	if r.operand == nil {
		return l, false
	}
	seen := *r.operand
	seen.Expr, _ = r.seen(seen.Expr)
	o := &seen
	if b, ok := r.burn(); ok {
		l.Harm, l.Share = errorsAbove(b.Ratio)
		l.Range = b.Long
		l.Seconds = l.Total().Seconds()
		return l, true
	}
	l.Harm = "harm that lasts"
	if len(o.Compare) > 0 {
		l.Harm, l.Share = harm(o, o.Compare[0])
	}
	if instant(o.Expr) {
		l.Share = 0
	}
	l.Seconds = l.Total().Seconds()
	return l, true
}

// harm gives the step for which the lag is told, in words, and the share of the range that it must fill.
func harm(o *promexpr.Operand, c promexpr.Compare) (string, float64) {
	limit := c.Value
	if q := quantileOf(o.Expr); q > 0 && q < 1 {
		p := min(1, multiple*(1-q))
		return percent(p) + " slow requests", (1 - q) / p
	}
	ratio := promexpr.FindRatio(o.Expr, o.Falling())
	if scale, ok := scaleOf(o.Expr); ratio != nil && ok {
		limit /= scale
		if ratio.Success {
			if inverted(o.Expr) {
				limit = 1 - limit
			}
			limit = 1 - limit
		}
		if limit > 0 && limit < 1 {
			return errorsAbove(limit)
		}
	}
	switch c.Op {
	case parser.GTR, parser.GTE:
		if limit > 0 {
			return strconv.Itoa(multiple) + " times its limit", 1. / multiple
		}
		return "any harm", 0
	case parser.LSS, parser.LTE:
		if limit > 0 {
			return "a fall from twice its limit to 0", 0.5
		}
	}
	return "harm that lasts", 1
}

// errorsAbove gives the step for a limit on the ratio of errors.
func errorsAbove(limit float64) (string, float64) {
	p := min(1, multiple*limit)
	return percent(p) + " errors", limit / p
}

// burn gives what a rule that was made of an SLO says.
func (r *rule) burn() (rules.Burn, bool) {
	for _, s := range r.file.SLOs {
		for _, b := range s.Burns {
			if s.Name == r.SLO && b.Rule == r.Alert {
				return b, true
			}
		}
	}
	return rules.Burn{}, false
}

func percent(p float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", p*100), "0"), ".") + "%"
}

// quantileOf gives the quantile of a histogram that an expression is, or 0.
func quantileOf(e parser.Expr) float64 {
	if c, ok := promexpr.Unparen(e).(*parser.Call); ok && c.Func.Name == "histogram_quantile" {
		if q, ok := promexpr.Number(c.Args[0]); ok {
			return q
		}
	}
	return 0
}

// scaleOf gives the factor of a ratio, as in 100 * A / B. ok is false for what else is done with it.
func scaleOf(e parser.Expr) (float64, bool) {
	b, ok := promexpr.Unparen(e).(*parser.BinaryExpr)
	if !ok {
		return 0, false
	}
	left, isLeft := promexpr.Number(b.LHS)
	right, isRight := promexpr.Number(b.RHS)
	switch {
	case b.Op == parser.DIV && !isLeft && !isRight:
		if scale, ok := scaleOf(b.LHS); ok { // 100 * A / B is (100 * A) / B
			return scale, true
		}
		return factor(b.LHS), true
	case b.Op == parser.MUL && isRight:
		scale, ok := scaleOf(b.LHS)
		return scale * right, ok
	case b.Op == parser.MUL && isLeft:
		scale, ok := scaleOf(b.RHS)
		return scale * left, ok
	case b.Op == parser.SUB && left == 1:
		return scaleOf(b.RHS)
	default:
		return 0, false
	}
}

// factor gives the number that a numerator is multiplied by.
func factor(e parser.Expr) float64 {
	if b, ok := promexpr.Unparen(e).(*parser.BinaryExpr); ok && b.Op == parser.MUL {
		if n, ok := promexpr.Number(b.LHS); ok {
			return n
		}
		if n, ok := promexpr.Number(b.RHS); ok {
			return n
		}
	}
	return 1
}

// inverted says that an expression is 1 - ratio.
func inverted(e parser.Expr) bool {
	b, ok := promexpr.Unparen(e).(*parser.BinaryExpr)
	return ok && b.Op == parser.SUB
}

// instant says that one sample is enough to move an expression all the way.
func instant(e parser.Expr) bool {
	if longestRange(e) == 0 {
		return true
	}
	c, ok := promexpr.Unparen(e).(*parser.Call)
	return ok && (c.Func.Name == "max_over_time" || c.Func.Name == "last_over_time" || c.Func.Name == "irate")
}
