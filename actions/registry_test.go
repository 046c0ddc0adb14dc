package actions

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

type sample struct {
	Name  string              `json:"name" required:"true" doc:"a name"`
	Wait  gatekeeper.Duration `json:"wait" default:"2m" doc:"a duration"`
	Count int                 `json:"count" default:"3" doc:"a number"`
	Share float64             `json:"share" doc:"a share"`
	On    *bool               `json:"on" doc:"a switch"`
	Tags  []string            `json:"tags" default:"[\"a\"]" doc:"a list"`
	Parts map[string]part     `json:"parts" doc:"objects by name"`
	Inner *part               `json:"inner" doc:"an object"`
	Any   json.RawMessage     `json:"any" doc:"anything"`
}

type part struct {
	Weight *int   `json:"weight" doc:"a weight"`
	State  string `json:"state" default:"ready" doc:"a state"`
}

// Validate refuses one name.
func (s *sample) Validate() error {
	if s.Name == "bad" {
		return Problem{Path: []string{"name"}, Says: "is bad"}
	}
	if s.Name == "worse" {
		return errors.New("worse than bad")
	}
	return nil
}

// nothing is an action that does nothing; it keeps what it was opened with.
type nothing struct {
	settings sample
	binding  Binding
	safety   gatekeeper.RetrySafety
}

func (nothing) Prepare(context.Context) (gatekeeper.Target, error) { return gatekeeper.Target{}, nil }

func (nothing) Apply(context.Context, gatekeeper.Target, gatekeeper.Key) (gatekeeper.Receipt, error) {
	return gatekeeper.Receipt{}, nil
}

func (nothing) Observe(context.Context, gatekeeper.Target) (gatekeeper.Live, error) {
	return gatekeeper.Live{}, nil
}

// declared is nothing with a retry safety of its own.
type declared struct{ nothing }

func (d declared) Safety() gatekeeper.RetrySafety { return d.safety }

func openSample(s sample, b Binding) (Action, error) {
	if s.Count == 99 {
		return declared{nothing{settings: s, safety: gatekeeper.ByKey}}, nil
	}
	if s.Count == 98 {
		return nil, gatekeeper.Errorf(gatekeeper.CodeRefused, "", "not allowed")
	}
	return nothing{settings: s, binding: b}, nil
}

func registry(t *testing.T) *Registry {
	t.Helper()
	r, err := NewRegistry(
		Define("test/one", "does nothing", gatekeeper.ByTarget, openSample),
		Define("test/bound", "does nothing, elsewhere", gatekeeper.NoRetry, openSample).WithConnection("box", part{}),
	)
	require.NoError(t, err)
	return r
}

func TestDefaultsAreFilledIn(t *testing.T) {
	a, safety, err := registry(t).Open("test/one",
		json.RawMessage(`{"name":"x","parts":{"blue":{"weight":0}},"any":{"n":12345678901234567890}}`), Binding{Subject: Subject{Release: "r"}})
	require.NoError(t, err)
	require.Equal(t, gatekeeper.ByTarget, safety)
	got := a.(nothing)
	require.Equal(t, "r", got.binding.Subject.Release)
	zero := 0
	require.Equal(t, sample{
		Name: "x", Wait: gatekeeper.Duration(2 * time.Minute), Count: 3, Tags: []string{"a"},
		Parts: map[string]part{"blue": {Weight: &zero, State: "ready"}}, Any: json.RawMessage(`{"n":12345678901234567890}`),
	}, got.settings)
}

func TestWrongSettings(t *testing.T) {
	for with, says := range map[string]string{
		``:                                   "name: is missing: a name",
		`null`:                               "name: is missing",
		`[1]`:                                "want an object, not a list",
		`{`:                                  "settings are no JSON",
		`{"name":"x"} {}`:                    "more than one JSON value",
		`{"nmae":"x","name":"x"}`:            `nmae: unknown setting; did you mean "name"?`,
		`{"Name":"x","name":"x"}`:            `Name: unknown setting; did you mean "name"?`,
		`{"name":"x","zzzzzzzzzz":1}`:        "zzzzzzzzzz: unknown setting; known are any, count, inner",
		`{"name":1}`:                         "name: want a string, not 1",
		`{"name":null}`:                      "name: want a string, not nothing",
		`{"name":"x","wait":5}`:              "wait: want ",
		`{"name":"x","wait":"5"}`:            `wait: duration "5": want a number and a unit`,
		`{"name":"x","wait":null}`:           "wait: want a duration, not nothing",
		`{"name":"x","count":1.5}`:           "count: want an integer, not 1.5",
		`{"name":"x","count":1e99}`:          "count: want an integer, not 1e99",
		`{"name":"x","share":"1"}`:           "share: want a number, not a string",
		`{"name":"x","on":"yes"}`:            "on: want a boolean, not a string",
		`{"name":"x","tags":"a"}`:            "tags: want a list of string, not a string",
		`{"name":"x","tags":["a",2]}`:        "tags.1: want a string, not 2",
		`{"name":"x","parts":{"b":{"w":1}}}`: "parts.b.w: unknown setting",
		`{"name":"x","parts":{"b":3}}`:       "parts.b: want an object, not 3",
		`{"name":"x","inner":{"weight":{}}}`: "inner.weight: want an integer, not an object",
		`{"name":"bad"}`:                     "name: is bad",
		`{"name":"worse"}`:                   "test/one: worse than bad",
	} {
		_, _, err := registry(t).Open("test/one", json.RawMessage(with), Binding{})
		require.ErrorContains(t, err, says, with)
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err), with)
		require.NotEmpty(t, gatekeeper.HintOf(err))
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, _, err := registry(t).Open("test/one", json.RawMessage(`{"count":"x","parts":{"b":{"staet":"x"}}}`), Binding{})
	problems, ok := errors.AsType[Problems](err)
	require.True(t, ok)
	require.Equal(t, Problems{
		{Path: []string{"name"}, Says: "is missing: a name"},
		{Path: []string{"count"}, Says: "want an integer, not a string"},
		{Path: []string{"parts", "b", "staet"}, Says: `unknown setting; did you mean "state"?`},
	}, problems)
}

func TestOpenRefuses(t *testing.T) {
	box := Connection{Name: "mine", Kind: "box"}
	for _, c := range []struct {
		name string
		b    Binding
		code gatekeeper.Code
		says string
	}{
		{"test/on", Binding{}, gatekeeper.CodeInvalid, `there is no action "test/on"; did you mean "test/one"?`},
		{"nonsense", Binding{}, gatekeeper.CodeInvalid, "known are test/bound, test/one"},
		{"helm/rollback", Binding{}, gatekeeper.CodeUnsupported, "not supported yet"},
		{"argocd/sync", Binding{}, gatekeeper.CodeUnsupported, "not supported yet"},
		{"nginx/upstream", Binding{}, gatekeeper.CodeUnsupported, "not supported yet"},
		{"test/bound", Binding{}, gatekeeper.CodeInvalid, "needs a connection of kind box"},
		{"test/bound", Binding{Connection: Connection{Name: "c", Kind: "jar"}}, gatekeeper.CodeInvalid, `"c" is of kind jar`},
		{"test/one", Binding{Connection: box}, gatekeeper.CodeInvalid, "takes no connection"},
		{"test/bound", Binding{Connection: box, ReturnTo: "previous"}, gatekeeper.CodeUnsupported, "keeps no history"},
		{"test/bound", Binding{Connection: box, ReturnTo: "yesterday"}, gatekeeper.CodeInvalid, `return_to "yesterday" is unknown`},
	} {
		_, _, err := registry(t).Open(c.name, json.RawMessage(`{"name":"x"}`), c.b)
		require.ErrorContains(t, err, c.says)
		require.Equal(t, c.code, gatekeeper.CodeOf(err), c.says)
	}
	_, _, err := registry(t).Open("test/one", json.RawMessage(`{"name":"x","count":98}`), Binding{})
	require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err), "an action's own code is kept")
}

func TestSaferOverrules(t *testing.T) {
	_, safety, err := registry(t).Open("test/one", json.RawMessage(`{"name":"x","count":99}`), Binding{})
	require.NoError(t, err)
	require.Equal(t, gatekeeper.ByKey, safety)
}

func TestSpecsDescribeSettings(t *testing.T) {
	specs := registry(t).Specs()
	require.Equal(t, []string{"test/bound", "test/one"}, registry(t).Names())
	require.Equal(t, "box", specs[0].Connection)
	parts := []Setting{{Name: "weight", Type: "integer", Doc: "a weight"}, {Name: "state", Type: "string", Doc: "a state", Default: "ready"}}
	require.Equal(t, parts, specs[0].Connects)
	require.Equal(t, []Setting{
		{Name: "name", Type: "string", Doc: "a name", Required: true},
		{Name: "wait", Type: "duration", Doc: "a duration", Default: "2m"},
		{Name: "count", Type: "integer", Doc: "a number", Default: "3"},
		{Name: "share", Type: "number", Doc: "a share"},
		{Name: "on", Type: "boolean", Doc: "a switch"},
		{Name: "tags", Type: "list of string", Doc: "a list", Default: `["a"]`},
		{Name: "parts", Type: "map of object", Doc: "objects by name", Fields: parts},
		{Name: "inner", Type: "object", Doc: "an object", Fields: parts},
		{Name: "any", Type: "any", Doc: "anything"},
	}, specs[1].Settings)
}

func TestCheckConnection(t *testing.T) {
	r := registry(t)
	require.NoError(t, r.CheckConnection(Connection{Name: "c", Kind: "box"}))
	require.ErrorContains(t, r.CheckConnection(Connection{Name: "c", Kind: "bax"}), `no action uses kind "bax"; did you mean "box"?`)
	require.ErrorContains(t, r.CheckConnection(Connection{Name: "c", Kind: "box", Settings: json.RawMessage(`{"wight":1}`)}),
		`connection "c" (box): wight: unknown setting; did you mean "weight"?`)
}

func TestNewRegistryRefusesDefects(t *testing.T) {
	type undocumented struct {
		Name string `json:"name"`
	}
	good := Define("test/one", "does nothing", gatekeeper.ByTarget, openSample)
	for says, specs := range map[string][]Spec{
		"registered twice":        {good, good},
		"not made by Define":      {{Name: "x/y"}},
		"want a name such as":     {Define("Test", "d", gatekeeper.ByTarget, openSample)},
		"needs a doc":             {Define("test/one", "", gatekeeper.ByTarget, openSample)},
		"no retry safety":         {Define("test/one", "d", "sometimes", openSample)},
		`"name" has no doc`:       {Define("test/one", "d", gatekeeper.ByKey, func(undocumented, Binding) (Action, error) { return nothing{}, nil })},
		"must be a struct":        {Define("test/one", "d", gatekeeper.ByKey, func(int, Binding) (Action, error) { return nothing{}, nil })},
		"must be a struct, not i": {good.WithConnection("box", 1)},
	} {
		_, err := NewRegistry(specs...)
		require.ErrorContains(t, err, says)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"name":"x","parts":{"b":{}}}`))
	f.Add([]byte(`{"name":{"name":[null]},"wait":true}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s sample
		if problems, err := decode(raw, &s); err == nil && len(problems) == 0 && s.Name == "bad" {
			t.Errorf("Validate was not asked about %s", raw)
		}
	})
}

func TestPreviousIsForActionsWhoseSystemKeepsHistory(t *testing.T) {
	returnTo := ""
	r, err := NewRegistry(Define("test/history", "keeps history", gatekeeper.ByTarget, func(_ struct{}, b Binding) (Action, error) {
		returnTo = b.ReturnTo
		return nil, nil
	}).WithPrevious())
	require.NoError(t, err)
	_, _, err = r.Open("test/history", nil, Binding{ReturnTo: "previous"})
	require.NoError(t, err)
	require.Equal(t, "previous", returnTo)
	_, _, err = r.Open("test/history", nil, Binding{ReturnTo: "yesterday"})
	require.ErrorContains(t, err, `return_to "yesterday" is unknown`)
}
