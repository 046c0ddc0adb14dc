package lint

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/suggest"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkIgnore tells of comments that disable nothing, or not as they should. It can't be disabled.
var checkIgnore = &Spec{
	Name:  "ignore",
	Finds: "a `gatekeeper:ignore` comment without a reason, with an unknown name, or that suppresses nothing",
	Why:   "A check that is off for no reason, or seems to be off, is a mistake that waits for a release.",
}

// comment is a gatekeeper:ignore comment. It disables a check in the rule it stands on, in or directly
// above; anywhere else, in its whole file.
type comment struct {
	place  rules.Place
	check  string
	reason string
	first  int // lines for which it holds; 0: the whole file
	last   int
	used   bool
}

var (
	ignoreComment = regexp.MustCompile(`(?:^|\s)(#\s*gatekeeper:ignore)\b(.*)$`)
	ignoreText    = regexp.MustCompile(`^\s+([A-Za-z_-]+)\s*(?::\s*(.*))?$`)
)

// readComments finds the comments of all files of a bundle.
func readComments(p *rules.Parsed) []*comment {
	var all []*comment
	for _, name := range p.Bundle.Files() {
		text, _ := p.Bundle.Text(name)
		lines := strings.Split(text, "\n")
		for i, line := range lines {
			line = strings.TrimRight(line, "\r")
			m := ignoreComment.FindStringSubmatchIndex(line)
			if m == nil {
				continue
			}
			c := &comment{place: rules.Place{
				File: name, Line: i + 1, Column: utf8.RuneCountInString(line[:m[2]]) + 1, Length: utf8.RuneCountInString(line[m[2]:]),
			}}
			if said := ignoreText.FindStringSubmatch(line[m[4]:m[5]]); said != nil {
				c.check, c.reason = said[1], strings.TrimSpace(said[2])
			}
			c.first, c.last = scope(p.Expressions(), name, lines, i+1)
			all = append(all, c)
		}
	}
	return all
}

// scope gives the lines of the rule that a comment in a line is for; none: the file.
func scope(all []*rules.ParsedRule, name string, lines []string, line int) (first, last int) {
	target := line
	for target <= len(lines) && strings.HasPrefix(strings.TrimSpace(lines[target-1]), "#") {
		target++ // a comment above belongs to what follows it directly
	}
	for _, r := range all {
		if r.File == name && (r.First <= line && line <= r.Last || r.First == target) {
			return r.First, r.Last
		}
	}
	return 0, 0
}

// ignored says whether a comment disables a check at a place, and notes that it was of use.
func (r *run) ignored(check string, at rules.Place) bool {
	found := false
	for _, c := range r.comments {
		holds := c.check == check && c.reason != "" && c.place.File == at.File && (c.first == 0 || c.first <= at.Line && at.Line <= c.last)
		if holds {
			c.used, found = true, true
		}
	}
	return found
}

// commentProblems tells what is wrong with the comments.
func (r *run) commentProblems() {
	for _, c := range r.comments {
		f := finding{severity: rules.Error, place: c.place}
		spec := specOf(c.check)
		switch {
		case c.check == "":
			f.message, f.hint = "this comment names no check", "Write # gatekeeper:ignore NAME: reason."
		case spec == nil || spec == checkIgnore:
			f.message, f.hint = fmt.Sprintf("there is no check %q to ignore", c.check), nearest(c.check)
		case c.reason == "":
			f.message, f.hint = fmt.Sprintf("%s is ignored without a reason", c.check), fmt.Sprintf("Write # gatekeeper:ignore %s: reason.", c.check)
		case c.used || spec.Online && r.options.Backend == nil || r.options.Disabled[c.check] != "":
			continue
		default:
			f.severity = rules.Warning
			f.message, f.hint = fmt.Sprintf("nothing to ignore: %s finds nothing here", c.check), "Take the comment away."
		}
		r.add(checkIgnore, []finding{f})
	}
}

func specOf(name string) *Spec {
	i := slices.IndexFunc(specs, func(s *Spec) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return specs[i]
}

func nearest(name string) string {
	if near, ok := suggest.Nearest(name, Names()); ok {
		return fmt.Sprintf("Did you mean %q?", near)
	}
	return "The checks are: " + strings.Join(Names(), ", ") + "."
}

func (o Options) validate() error {
	for _, name := range slices.Sorted(maps.Keys(o.Disabled)) {
		if s := specOf(name); s == nil || s == checkIgnore {
			return gatekeeper.Errorf(gatekeeper.CodeInvalid, nearest(name), "there is no check %q to disable", name)
		}
		if strings.TrimSpace(o.Disabled[name]) == "" {
			return gatekeeper.Errorf(gatekeeper.CodeInvalid, "Say why: "+name+"=reason.", "check %s is disabled without a reason", name)
		}
	}
	return nil
}
