package main

import (
	"github.com/danielgtaylor/huma/v2"

	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// healthSchema gives the schema of health files. Package rules reads them key by key, to tell
// everything with its place, so their schema is written here; a test holds it to every key that
// package rules reads. What rungs take is that of the actions.
func healthSchema(specs []actions.Spec) *huma.Schema {
	text := func() *huma.Schema { return &huma.Schema{Type: huma.TypeString} }
	flag := func() *huma.Schema { return &huma.Schema{Type: huma.TypeBoolean} }
	texts := func() *huma.Schema {
		return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: anyOf("string", "number", "boolean")}
	}
	policy := func() *huma.Schema {
		return oneOf(string(rules.Hold), string(rules.Rollback), string(rules.Ignore))
	}
	rule := object(map[string]*huma.Schema{
		"alert": text(), "expr": anyOf("string", "number"), "for": duration(), "keep_firing_for": duration(), "labels": texts(), "annotations": texts(),
		"warm_up": duration(), "missing_success": oneOf(string(rules.MissingUnhealthy), string(rules.MissingNoData)), "dry_run": flag(),
	}, "alert", "expr")
	recording := object(map[string]*huma.Schema{"record": text(), "expr": anyOf("string", "number"), "labels": texts()}, "record", "expr")
	group := object(map[string]*huma.Schema{
		"name": text(), "interval": duration(), "query_offset": duration(), "limit": {Type: huma.TypeInteger}, "labels": texts(), "rules": listOf(&huma.Schema{AnyOf: []*huma.Schema{rule, recording}}),
	}, "name")
	route := object(map[string]*huma.Schema{
		"matchers": listOf(text()), "do": oneOf(string(rules.Rollback), string(rules.Hold), string(rules.Notify)), "veto": duration(),
		"no_data": policy(), "on_error": policy(), "blind": duration(), "external": flag(),
	}, "do")
	slo := object(map[string]*huma.Schema{
		"name": text(), "objective": anyOf("string", "number"), "errors": text(), "total": text(), "period": duration(),
		"budget": anyOf("string", "number"), "interval": duration(), "labels": texts(),
	}, "name", "objective", "errors", "total")
	return titled(object(map[string]*huma.Schema{
		"service": text(), "environment": text(), "backend": text(),
		"window": duration(), "start_within": duration(), "hold_for": duration(),
		"min_traffic": text(), "coverage": {Type: huma.TypeNumber},
		"on_inconclusive": oneOf(string(rules.Close), string(rules.Hold), string(rules.Rollback)),
		"preflight":       oneOf(string(rules.Require)), "dry_run": flag(),
		"rule_files": listOf(text()), "groups": listOf(group), "slos": listOf(slo), "respond": listOf(route), "rollback": listOf(rungSchema(specs)),
	}), "A health file of Gatekeeper")
}

// rungSchema gives one alternative for every action.
func rungSchema(specs []actions.Spec) *huma.Schema {
	all := &huma.Schema{}
	for _, spec := range specs {
		with := settingsSchema(spec.Settings)
		one := object(map[string]*huma.Schema{
			"action": oneOf(spec.Name), "connection": {Type: huma.TypeString}, "with": with, "recover_within": duration(),
			"changed_by_other": oneOf(string(rules.Rollback), string(rules.Hold)),
		}, "action")
		one.Description = spec.Doc
		if spec.Connection != "" {
			one.Required = append(one.Required, "connection")
		}
		if len(with.Required) > 0 {
			one.Required = append(one.Required, "with")
		}
		if spec.Previous {
			one.Properties["return_to"] = oneOf(string(rules.Previous))
		}
		all.AnyOf = append(all.AnyOf, one)
	}
	return all
}
