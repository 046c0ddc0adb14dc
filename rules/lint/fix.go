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
	var batch []fix
	for _, f := range r.fixes {
		if !seen[f.rule] && !refused[f.key()] {
			seen[f.rule] = true
			batch = append(batch, f)
		}
	}
	if next, ok := makeAll(b, batch); ok {
		return next, len(batch)
	}
	for _, f := range slices.Backward(batch) { // from the end of a file, so that offsets stay
		if next, ok := makeAll(b, []fix{f}); ok {
			b, made = next, made+1
		} else {
			refused[f.key()] = true
		}
	}
	return b, made
}

func (f fix) key() string { return f.rule.Name + "\x00" + f.want }

// makeAll gives the bundle with fixes of several rules in it, if that changes nothing but the rules'
// expressions.
func makeAll(b rules.Bundle, all []fix) (rules.Bundle, bool) {
	edits := map[string][]rules.Edit{}
	for _, f := range all {
		for _, e := range f.edits {
			edits[e.File] = append(edits[e.File], e)
		}
	}
	next := b
	for name, list := range edits {
		text, ok := b.Text(name)
		if !ok {
			return b, false
		}
		slices.SortFunc(list, func(a, b rules.Edit) int { return a.From - b.From })
		var out strings.Builder
		end := 0
		for _, e := range list {
			if e.From < end {
				return b, false
			}
			out.WriteString(text[end:e.From] + e.Text)
			end = e.To
		}
		next = next.WithText(name, out.String()+text[end:])
	}
	return next, len(all) == 0 || sameBut(rules.Parse(b), rules.Parse(next), all)
}

// sameBut says that two readings differ in nothing but the expressions that the fixes change.
func sameBut(before, after *rules.Parsed, all []fix) bool {
	olds, news := before.Expressions(), after.Expressions()
	if len(olds) != len(news) || before.Usable != after.Usable {
		return false
	}
	type place struct {
		file   string
		line   int
		source string
	}
	want := map[place]string{}
	for _, f := range all {
		want[place{f.rule.File, f.rule.First, f.rule.Source}] = f.want
	}
	for i, old := range olds {
		now, was := news[i].Rule, old.Rule
		if text, ok := want[place{old.File, old.First, old.Source}]; ok {
			if news[i].Source != text {
				return false
			}
			was.Expr = now.Expr
		}
		was.Range, was.VersionBound = now.Range, now.VersionBound // they follow from the expressions
		if !reflect.DeepEqual(was, now) {
			return false
		}
	}
	old, now := *before.File, *after.File
	old.Rules, now.Rules = nil, nil
	old.Recordings, now.Recordings = nil, nil // compared above, as expressions
	old.MinTraffic, now.MinTraffic = "", ""
	return reflect.DeepEqual(old, now)
}
