package api

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatekeeper-engine/gatekeeper"
)

// describeFacts tells huma what the types look like that write their own JSON.
func describeFacts(r huma.Registry) {
	r.RegisterTypeAlias(reflect.TypeFor[gatekeeper.Fact](), reflect.TypeFor[factSchema]())
	r.RegisterTypeAlias(reflect.TypeFor[gatekeeper.Float](), reflect.TypeFor[floatSchema]())
}

// factSchema describes [gatekeeper.Fact] as it is in JSON.
type factSchema struct{}

// Schema gives one alternative of body for every kind of fact.
func (factSchema) Schema(r huma.Registry) *huma.Schema {
	var kinds []any
	var bodies []*huma.Schema
	for _, kind := range gatekeeper.Kinds() {
		var f gatekeeper.Fact
		if err := json.Unmarshal(fmt.Appendf(nil, `{"kind":%q,"body":{}}`, kind), &f); err != nil {
			panic("the kind " + string(kind) + " can't be decoded: " + err.Error())
		}
		kinds = append(kinds, string(kind))
		bodies = append(bodies, r.Schema(reflect.TypeOf(f.Body), true, string(kind)))
	}
	return &huma.Schema{
		Type:        huma.TypeObject,
		Description: "One thing that happened to a release.",
		Required:    []string{"seq", "at", "kind", "body"},
		Properties: map[string]*huma.Schema{
			"seq":   {Type: huma.TypeInteger, Description: "Position in the release's journal, from 1."},
			"at":    {Type: huma.TypeString, Format: "date-time"},
			"actor": {Type: huma.TypeString, Description: "Who is behind it; without one it is Gatekeeper itself."},
			"kind":  {Type: huma.TypeString, Enum: kinds},
			"body":  {Description: "What happened; its shape is the kind's.", AnyOf: bodies},
		},
	}
}

// floatSchema describes [gatekeeper.Float] as it is in JSON.
type floatSchema struct{}

// Schema gives a number, or the name of a value that JSON has no number for.
func (floatSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		{Type: huma.TypeNumber},
		{Type: huma.TypeString, Enum: []any{"NaN", "+Inf", "-Inf"}},
	}}
}
