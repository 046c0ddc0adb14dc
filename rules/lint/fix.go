package lint

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// fix is a rewrite that is safe: its edits are made together or not at all.
type fix struct {
	rule  *rules.ParsedRule
	edits []rules.Edit
	want  string // the rule's expression afterwards
}

// apply makes replacements that do not overlap.
func apply(text string, all []replace) string {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b replace) int { return b.from - a.from })
	for _, one := range all {
		text = text[:one.from] + one.text + text[one.to:]
	}
	return text
}

// oneLine gives an expression on one line, without its comments.
func oneLine(expr string) string {
	var kept strings.Builder
	end := 0
	for _, t := range tokens(expr) {
		if strings.TrimSpace(expr[end:t.from]) == "" {
			kept.WriteString(expr[end:t.from])
		} else {
			kept.WriteByte(' ') // a comment
		}
		kept.WriteString(t.text)
		end = t.to
	}
	return strings.Join(strings.Fields(kept.String()), " ")
}

func fileEdits(r *rules.ParsedRule, all []replace) ([]rules.Edit, bool) {
	var edits []rules.Edit
	for _, one := range all {
		e, ok := r.Edit(one.from, one.to, one.text)
		if !ok {
			return nil, false
		}
		edits = append(edits, e)
	}
	return edits, true
}

// maxFixes ends a run of [Fix] that does not come to rest.
const maxFixes = 10_000

// Fix makes every safe rewrite that [Check] offers for a bundle, one after the other until there is
// none left, and says how many it made. Comments and everything else stay byte for byte: a rewrite
// that YAML would take as more than a change of its one expression is left out. A bundle that can't be
// used stays as it is.
func Fix(ctx context.Context, b rules.Bundle, o Options) (fixed rules.Bundle, made int, err error) {
	o.Backend = nil // what it says changes no expression
	refused := map[string]bool{}
	for made < maxFixes {
		report, err := Check(ctx, b, o)
		if err != nil {
			return b, made, err
		}
		if report.File == nil {
			return b, made, nil // nobody knows what it would mean
		}
		next, count := report.mend(b, refused)
		if count == 0 {
			return next, made, nil
		}
		b, made = next, made+count
	}
	return b, made, nil
}

// mend makes the first fix of each rule; those behind it are found again in the next round.
func (r *Report) mend(b rules.Bundle, refused map[string]bool) (fixed rules.Bundle, made int) {
	seen := map[*rules.ParsedRule]bool{}
	for _, f := range slices.Backward(r.fixes) { // from the end of a file, so that offsets stay
		if seen[f.rule] || refused[f.key()] {
			continue
		}
		seen[f.rule] = true
		if next, ok := f.make(b); ok {
			b, made = next, made+1
		} else {
			refused[f.key()] = true
		}
	}
	return b, made
}

func (f fix) key() string { return f.rule.Name + "\x00" + f.want }

// make gives the bundle with the fix in it, if that changes nothing but the rule's expression.
func (f fix) make(b rules.Bundle) (rules.Bundle, bool) {
	name := f.edits[0].File
	text, ok := b.Text(name)
	if !ok {
		return b, false
	}
	edits := slices.Clone(f.edits)
	slices.SortFunc(edits, func(a, b rules.Edit) int { return b.From - a.From })
	for _, e := range edits {
		text = text[:e.From] + e.Text + text[e.To:]
	}
	next := b.WithText(name, text)
	return next, f.only(rules.Parse(b), rules.Parse(next))
}

// only says that nothing but the expression of the fix's rule differs between two readings.
func (f fix) only(before, after *rules.Parsed) bool {
	olds, news := before.Expressions(), after.Expressions()
	if len(olds) != len(news) || before.Usable != after.Usable {
		return false
	}
	for i, old := range olds {
		now, was := news[i].Rule, old.Rule
		if old.File == f.rule.File && old.First == f.rule.First && old.Source == f.rule.Source {
			if news[i].Source != f.want {
				return false
			}
			was.Expr, was.Range, was.VersionBound = now.Expr, now.Range, now.VersionBound
		}
		if !reflect.DeepEqual(was, now) {
			return false
		}
	}
	old, now := *before.File, *after.File
	old.Rules, now.Rules = nil, nil
	old.MinTraffic, now.MinTraffic = "", "" // compared above, as an expression
	return reflect.DeepEqual(old, now)
}
