package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"

	"go.yaml.in/yaml/v3"
)

// badTemplate is what is wrong with a template, and at which byte of its text.
type badTemplate struct {
	at      int
	message string
}

// template checks a text that may be a template.
func (r *reader) template(n *yaml.Node) {
	text := n.Value
	if !isTemplate(text) {
		return
	}
	bad := checkedTemplate(text)
	if bad == nil {
		if err := r.out.rehearsal.rehearse(text); err != nil {
			bad = &badTemplate{message: err.Error()}
		}
	}
	if bad == nil {
		return
	}
	from := bad.at + max(0, strings.Index(text[bad.at:], "{{"))
	length := strings.Index(text[from:], "}}") + len("}}")
	r.tellAt(Error, n, from, length, checkTemplate, "Templates are those of Prometheus: {{ $value | humanizePercentage }}, {{ $labels.pod }}.", "bad template: %s", bad.message)
}

// checkedTemplate gives what is wrong with a template, nil: nothing. One that is taken has an end,
// though maybe a far one: expanding it is metered.
func checkedTemplate(text string) *badTemplate {
	if len(text) > maxTemplate {
		return &badTemplate{message: fmt.Sprintf("it has more than %d bytes", maxTemplate)}
	}
	t, err := parseTemplate(mainTemplate, text, templateFunctions)
	if err != nil {
		return unparsed(text, err)
	}
	c := callGraph{calls: map[string][]*parse.TemplateNode{}}
	for _, defined := range t.Templates() {
		c.names = append(c.names, defined.Name())
	}
	slices.Sort(c.names)
	for _, name := range c.names {
		if bad := c.read(text, name, t.Lookup(name).Root); bad != nil {
			return bad
		}
	}
	return c.check(text)
}

var templateLine = regexp.MustCompile(`^template: ` + mainTemplate + `:(\d+):(?:\d+:)? ?`)

// unparsed is an error of the template parser, which knows the line only.
func unparsed(text string, err error) *badTemplate {
	bad := &badTemplate{message: err.Error()}
	if m := templateLine.FindStringSubmatch(bad.message); m != nil {
		bad.message = bad.message[len(m[0]):]
		line, _ := strconv.Atoi(m[1]) // digits
		bad.at = startOfLine(text, line)
	}
	return bad
}

func startOfLine(text string, line int) int {
	offset := 0
	for ; line > 1; line-- {
		next := strings.IndexByte(text[offset:], '\n')
		if next < 0 {
			return offset
		}
		offset += next + 1
	}
	return offset
}

// startOfAction is where the action of a node begins in a template's text.
func startOfAction(text string, n parse.Node) int {
	within := min(max(int(n.Position())-len(templateVars), 0), len(text))
	return max(strings.LastIndex(text[:within], "{{"), 0)
}

// callGraph is which template calls which.
type callGraph struct {
	names []string
	calls map[string][]*parse.TemplateNode
}

// read takes the calls of one template.
func (c callGraph) read(text, name string, body *parse.ListNode) (bad *badTemplate) {
	if name != mainTemplate && strings.HasPrefix(name, mainTemplate) {
		return &badTemplate{message: fmt.Sprintf("%q is a name of Prometheus's own", name)}
	}
	everyNode(body, func(n parse.Node) {
		if call, ok := n.(*parse.TemplateNode); ok {
			c.calls[name] = append(c.calls[name], call)
		}
		if pipe := parts(n).pipe; bad == nil && pipe != nil && !fixedLayouts(pipe) {
			bad = &badTemplate{startOfAction(text, n), "Format takes its layout as a text in quotes only"}
		}
	})
	return bad
}

// check finds calls of what is not defined, and templates that call themselves: Prometheus would
// find both when the alert fires, the second after 100,000 calls.
func (c callGraph) check(text string) *badTemplate {
	done := map[string]bool{}
	var follow func(name string, path []string) *badTemplate
	follow = func(name string, path []string) *badTemplate {
		path = append(path, name)
		for _, call := range c.calls[name] {
			if _, defined := slices.BinarySearch(c.names, call.Name); !defined {
				return &badTemplate{startOfAction(text, call), fmt.Sprintf("template %q is not defined", call.Name)}
			}
			if i := slices.Index(path, call.Name); i >= 0 {
				return &badTemplate{startOfAction(text, call), "templates call themselves without end: " + strings.Join(append(path[i:], call.Name), " → ")}
			}
			if done[call.Name] {
				continue
			}
			if bad := follow(call.Name, path); bad != nil {
				return bad
			}
		}
		done[name] = true
		return nil
	}
	for _, name := range c.names {
		if bad := follow(name, nil); bad != nil {
			return bad
		}
	}
	return nil
}

// growing is the methods of a time that can give more bytes than they were given: a layout of
// "1" in November gives "11", and that "1111".
var growing = regexp.MustCompile(`^(?:Format|Append\w*)$`)

// fixedLayouts says whether these methods get constants only.
func fixedLayouts(pipe *parse.PipeNode) bool {
	for i, cmd := range pipe.Cmds {
		var idents []string
		switch n := cmd.Args[0].(type) {
		case *parse.FieldNode:
			idents = n.Ident
		case *parse.VariableNode:
			idents = n.Ident
		case *parse.ChainNode:
			idents = n.Field
		}
		if len(idents) > 0 && growing.MatchString(idents[len(idents)-1]) {
			if i > 0 || slices.ContainsFunc(cmd.Args[1:], func(n parse.Node) bool { return n.Type() != parse.NodeString }) {
				return false
			}
		}
		for _, arg := range cmd.Args {
			if chain, ok := arg.(*parse.ChainNode); ok {
				arg = chain.Node
			}
			if inner, ok := arg.(*parse.PipeNode); ok && !fixedLayouts(inner) {
				return false
			}
		}
	}
	return true
}
