package rules

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	texttemplate "text/template"
	"text/template/parse"
)

// The work of templates is counted in steps. One is well below a microsecond: a round of a loop, an
// action, some bytes that a function is given or gives.
const (
	maxSteps        = 200_000      // of one template
	maxReadingSteps = 5 * maxSteps // of all templates of one reading

	bytesPerStep   = 64
	sourcePerStep  = 16 // bytes of an action's own text
	stepsPerSample = 5  // to give a sample of a query
	stepsPerLoop   = 32 // to begin a loop, which sorts a map
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
		return errReadingDone
	case m.steps > maxSteps:
		return errTooMuch
	}
	return m.ctx.Err()
}

// Write takes a piece of the text that a template gives; see pace for pieces of no bytes.
func (m *meter) Write(p []byte) (int, error) {
	if err := m.spend(1 + len(p)/bytesPerStep); err != nil {
		return 0, err
	}
	if m.out.Len()+len(p) > maxExpanded {
		return 0, errTooLong
	}
	return m.out.Write(p)
}

// pace makes a template, with those it defines, write no bytes before each of its actions and in
// each round of its loops, more where more is done, so that the meter sees everything it does. What is in the text
// keeps its place in it, for errors.
func pace(t *texttemplate.Template) {
	for _, defined := range t.Templates() {
		paceList(defined.Root, 0)
	}
}

var nothing = &parse.TextNode{NodeType: parse.NodeText}

func paceList(l *parse.ListNode, first int) {
	if l == nil {
		return
	}
	var paced []parse.Node
	wait := func(steps int) {
		for range steps {
			paced = append(paced, nothing)
		}
	}
	wait(first)
	for _, n := range l.Nodes {
		p, round := parts(n), 0
		if p.pipe != nil {
			wait(len(p.pipe.String()) / sourcePerStep)
		}
		if n.Type() == parse.NodeRange {
			wait(stepsPerLoop)
			round = 1
		}
		wait(1)
		paceList(p.body, round)
		paceList(p.otherwise, 0)
		paced = append(paced, n)
	}
	l.Nodes = paced
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
