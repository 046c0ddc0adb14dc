package rules

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	texttemplate "text/template"
	"text/template/parse"
)

// The work of templates is counted in steps. One is a fraction of a microsecond: a round of a loop, an
// action, some bytes that a function is given or gives.
const (
	maxSteps        = 100_000       // of one template
	maxReadingSteps = 10 * maxSteps // of all templates of one reading

	bytesPerStep     = 16
	bytesPerArgument = 4   // of a text in quotes, which may be the layout of a time
	stepsPerSample   = 5   // to give a sample of a query
	stepsPerLoop     = 150 // to begin a loop, which sorts a map
	stepsPerCall     = 20  // of a function
	stepsPerField    = 10  // or method
	stepsPerCompare  = 10  // of a value by eq and its like, or as a key of index: it may be long
)

var (
	errTooMuch     = fmt.Errorf("it takes more than %d steps: its loops, or the templates that call one another, are too many", maxSteps)
	errTooLong     = fmt.Errorf("it makes a text of more than %d bytes", maxExpanded)
	errReadingDone = fmt.Errorf("the templates of one reading take more than %d steps", maxReadingSteps)
)

// meter counts the steps of a reading's templates and ends the one that takes too many: it is what
// they write into, and what their functions ask. Steps and not time are counted, so that the
// same reading gives the same text again.
type meter struct {
	ctx   context.Context
	out   bytes.Buffer
	steps int // of this template
	all   int // of the reading

	failed bool // what failed last is not the template: a query of it, its time, or a limit
}

// start begins a template.
func (m *meter) start(ctx context.Context) {
	m.ctx, m.steps = ctx, 0
	m.out.Reset()
}

func (m *meter) spend(steps int) error {
	m.steps += steps
	m.all += steps
	switch {
	case m.all > maxReadingSteps:
		return m.fail(errReadingDone)
	case m.steps > maxSteps:
		return m.fail(errTooMuch)
	}
	return m.fail(m.ctx.Err())
}

// fail remembers that something failed that is not the template.
func (m *meter) fail(err error) error {
	m.failed = m.failed || err != nil
	return err
}

// Write takes a piece of the text that a template gives; a piece of pacing is none of it.
func (m *meter) Write(p []byte) (int, error) {
	if len(p) > 0 && &p[0] == &pacing[0] {
		return len(p), m.spend(len(p))
	}
	if err := m.spend(1 + len(p)/bytesPerStep); err != nil {
		return 0, err
	}
	if m.out.Len()+len(p) > maxExpanded {
		return 0, m.fail(errTooLong)
	}
	return m.out.Write(p)
}

// pacing is what a template writes for its steps, one byte for each: the meter knows it by its place.
// No action takes more, by the size of a template.
var pacing [2 * stepsPerCall * maxTemplate]byte

// pace makes a template, with those it defines, write some of pacing before each of its actions and in
// each round of its loops, so that the meter sees everything it does. What is in the text keeps its place in
// it, for errors.
func pace(t *texttemplate.Template) {
	for _, defined := range t.Templates() {
		paceList(defined.Root, 0)
	}
}

func paceList(l *parse.ListNode, first int) {
	if l == nil {
		return
	}
	var paced []parse.Node
	wait := func(steps int) {
		if steps > 0 {
			paced = append(paced, &parse.TextNode{NodeType: parse.NodeText, Text: pacing[:steps]})
		}
	}
	wait(first)
	for _, n := range l.Nodes {
		p, round := parts(n), 0
		steps := 1 + work(p.pipe)
		if n.Type() == parse.NodeRange {
			steps += stepsPerLoop
			round = 1
		}
		wait(steps)
		paceList(p.body, round)
		paceList(p.otherwise, 0)
		paced = append(paced, n)
	}
	l.Nodes = paced
}

// comparing is the functions of text/template that look at their arguments byte by byte.
var comparing = map[string]bool{"eq": true, "ne": true, "lt": true, "le": true, "gt": true, "ge": true, "index": true}

// work is how many steps a pipeline takes, besides what the functions count themselves.
func work(pipe *parse.PipeNode) int {
	if pipe == nil {
		return 0
	}
	steps := 0
	for _, cmd := range pipe.Cmds {
		each := 1
		if function, ok := cmd.Args[0].(*parse.IdentifierNode); ok && comparing[function.Ident] {
			each = stepsPerCompare
		}
		steps += each // what is piped into it
		for _, arg := range cmd.Args {
			steps += each + argument(arg)
		}
	}
	return steps
}

func argument(n parse.Node) int {
	switch n := n.(type) {
	case *parse.IdentifierNode:
		return stepsPerCall
	case *parse.FieldNode:
		return stepsPerField * len(n.Ident)
	case *parse.VariableNode:
		return stepsPerField * (len(n.Ident) - 1)
	case *parse.ChainNode:
		return stepsPerField*len(n.Field) + argument(n.Node)
	case *parse.StringNode:
		return len(n.Text) / bytesPerArgument
	case *parse.PipeNode:
		return work(n)
	}
	return 0
}

// nodeParts is what stands in a node of a template; each may be nil.
type nodeParts struct {
	pipe            *parse.PipeNode
	body, otherwise *parse.ListNode
}

func parts(n parse.Node) nodeParts {
	switch n := n.(type) {
	case *parse.ActionNode:
		return nodeParts{pipe: n.Pipe}
	case *parse.TemplateNode:
		return nodeParts{pipe: n.Pipe}
	case *parse.IfNode:
		return nodeParts{n.Pipe, n.List, n.ElseList}
	case *parse.WithNode:
		return nodeParts{n.Pipe, n.List, n.ElseList}
	case *parse.RangeNode:
		return nodeParts{n.Pipe, n.List, n.ElseList}
	}
	return nodeParts{}
}

// everyNode visits the nodes of a list and of the lists in them.
func everyNode(l *parse.ListNode, visit func(parse.Node)) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		visit(n)
		p := parts(n)
		everyNode(p.body, visit)
		everyNode(p.otherwise, visit)
	}
}

// weigh gives about how many bytes a value has when it is printed. Below the first, fmt prints the
// address of what a pointer points to.
func weigh(v reflect.Value, depth int) int {
	const small = 20
	switch v.Kind() {
	case reflect.String:
		return v.Len()
	case reflect.Interface:
		return weigh(v.Elem(), depth)
	case reflect.Pointer:
		if depth > 0 || v.IsNil() {
			return small
		}
		return weigh(v.Elem(), depth+1)
	case reflect.Slice:
		return small * v.Len()
	case reflect.Map:
		bytes := small
		for entries := v.MapRange(); entries.Next(); {
			bytes += small + weigh(entries.Key(), depth+1) + weigh(entries.Value(), depth+1)
		}
		return bytes
	case reflect.Struct:
		bytes := small
		for i := range v.NumField() {
			bytes += weigh(v.Field(i), depth+1)
		}
		return bytes
	default:
		return small
	}
}
