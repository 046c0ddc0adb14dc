package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper/actions/builtin"
)

// The schemas in docs/schema are those of the code.
func TestCommittedSchemas(t *testing.T) {
	for _, name := range []string{"config", "health"} {
		want := gk(t, 0, "schema", name)
		require.True(t, json.Valid([]byte(want)))
		require.Equal(t, want, page(t, "docs/schema/"+name+".json"), "write it again: gatekeeper schema %s > docs/schema/%s.json", name, name)
	}
}

func TestSchemaHasEveryKeyOfAHealthFile(t *testing.T) {
	schema, found := gk(t, 0, "schema", "health"), 0
	for _, file := range []string{"load.go", "groups.go", "respond.go", "plan.go"} {
		for _, line := range strings.Split(page(t, "rules/"+file), "\n") {
			m := healthKey.FindStringSubmatch(line)
			if m == nil || strings.Contains(line, "later:") {
				continue
			}
			found++
			require.Contains(t, schema, `"`+m[1]+`":`, "rules/%s reads it", file)
		}
	}
	require.Greater(t, found, 25)
}

// problems gives what a schema finds wrong with YAML.
func problems(t *testing.T, s *huma.Schema, text string) []error {
	t.Helper()
	var v any
	require.NoError(t, yaml.Unmarshal([]byte(text), &v))
	res := &huma.ValidateResult{}
	huma.Validate(huma.NewMapRegistry("#/", huma.DefaultSchemaNamer), s, huma.NewPathBuffer(nil, 0), huma.ModeWriteToServer, v, res)
	return res.Errors
}

// prepared makes a schema ready for huma's validation.
func prepared(s *huma.Schema) *huma.Schema {
	if s == nil {
		return nil
	}
	for _, p := range s.Properties {
		prepared(p)
	}
	for _, p := range s.AnyOf {
		prepared(p)
	}
	prepared(s.Items)
	if more, ok := s.AdditionalProperties.(*huma.Schema); ok {
		prepared(more)
	}
	s.PrecomputeMessages()
	return s
}

// Every example fits its schema, and names it for editors.
func TestExamplesFitTheirSchemas(t *testing.T) {
	registry, err := builtin.Registry(nil)
	require.NoError(t, err)
	made := map[string]*huma.Schema{"config": prepared(configSchema(registry.Specs())), "health": prepared(healthSchema(registry.Specs()))}
	seen := 0
	for _, file := range schemaExamples(t) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		kind := "health"
		if filepath.Base(file) == "gatekeeper.yml" {
			kind = "config"
		}
		require.Empty(t, problems(t, made[kind], string(text)), file)
		require.NotEmpty(t, problems(t, made[kind], string(text)+"\nno_such_key: 1\n"), file)
		to, err := filepath.Rel(filepath.Dir(file), "../../docs/schema/"+kind+".json")
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(text), "# yaml-language-server: $schema="+filepath.ToSlash(to)+"\n"), "%s begins with %s", file, to)
		seen++
	}
	require.GreaterOrEqual(t, seen, 8)
}

// schemaExamples are the examples of files that Gatekeeper reads; Prometheus's own rule files are
// Prometheus's to describe.
func schemaExamples(t *testing.T) (files []string) {
	t.Helper()
	for _, glob := range []string{"../../examples/*/gatekeeper.yml", "../../examples/*/health.yml", "../../examples/rules/*.yml", "../../internal/demo/health.yml"} {
		found, err := filepath.Glob(glob)
		require.NoError(t, err)
		for _, file := range found {
			if base := filepath.Base(file); base != "published.yml" && !strings.HasSuffix(base, ".rules.yml") && !strings.HasSuffix(base, ".test.yml") {
				files = append(files, file)
			}
		}
	}
	return files
}

func TestSchemaRefuses(t *testing.T) {
	registry, err := builtin.Registry(nil)
	require.NoError(t, err)
	c, h := prepared(configSchema(registry.Specs())), prepared(healthSchema(registry.Specs()))
	for _, text := range []string{
		"lisen: x", "listen: 5", "log: {level: loud}", "tokens: [{name: a, scopes: [opn]}]", "query_timeout: soon",
		"backends: {a: {prometheus: {urll: x}}}", "connections: {a: {kind: haproxi}}", "connections: {a: {kind: haproxy, sockt: x}}",
		"plans: {a: [{action: flag/set, connection: flags, with: {flagg: x}}]}", "notifications: {slack: [{chanel: x}]}",
	} {
		require.NotEmpty(t, problems(t, c, text), text)
	}
	for _, text := range []string{
		"window: long", "groups: [{rules: []}]", "groups: [{name: a, rules: [{alert: b}]}]", "groups: [{name: a, rules: [{record: b, expr: c, for: 1m}]}]", "respond: [{do: roll}]",
		"rollback: [{action: flag/get}]", "rollback: [{action: flag/set, connection: flags}]",
	} {
		require.NotEmpty(t, problems(t, h, text), text)
	}
	require.Empty(t, problems(t, h, "rollback: [{action: flag/set, connection: flags, with: {flag: a, percentage: 2.5, restore: false}, recover_within: 1m30s}]"))
	require.Empty(t, problems(t, c, "policy: [{services: ['*'], open: [ci], allow: [{targets: [a]}]}]\nguards: {cool_down: 5m}\nbackends: {a: {tsdb: {retention_size: 5GB}}}"))
}

// The reference in docs/reference is that of the code.
func TestReferenceIsWritten(t *testing.T) {
	for _, name := range []string{"commands", "actions"} {
		want := gk(t, 0, "docs", name)
		require.Equal(t, want, page(t, "docs/reference/"+name+".md"), "write it again: gatekeeper docs %s > docs/reference/%s.md", name, name)
	}
}
