package main

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/actions/builtin"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/config"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
	"github.com/gatekeeper-engine/gatekeeper/internal/pagerduty"
	prometheusapi "github.com/gatekeeper-engine/gatekeeper/internal/prometheus"
	"github.com/gatekeeper-engine/gatekeeper/internal/slack"
	"github.com/gatekeeper-engine/gatekeeper/internal/tsdb"
	"github.com/gatekeeper-engine/gatekeeper/internal/webhook"
)

func schemaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "schema", Short: "Print JSON Schemas, by which editors know the keys of Gatekeeper's files",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, one := range []struct {
		name, short string
		make        func([]actions.Spec) *huma.Schema
	}{
		{"config", "Print the JSON Schema of the daemon's configuration", configSchema},
		{"health", "Print the JSON Schema of health files", healthSchema},
	} {
		cmd.AddCommand(&cobra.Command{Use: one.name, Short: one.short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			registry, err := builtin.Registry(nil)
			if err != nil {
				return err
			}
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			return enc.Encode(one.make(registry.Specs()))
		}})
	}
	return cmd
}

// sections are the types of what the configuration leaves to those who know the technology, by the
// struct and the key.
var sections = map[reflect.Type]map[string]reflect.Type{
	reflect.TypeFor[config.Config](): {
		"alertmanagers": reflect.TypeFor[[]httpclient.Config](), "store": reflect.TypeFor[storeConfig](),
		"tracing": reflect.TypeFor[httpclient.Config](),
	},
	reflect.TypeFor[config.Backend](): {
		"prometheus": reflect.TypeFor[prometheusapi.Config](), "tsdb": reflect.TypeFor[tsdb.Config](),
	},
	reflect.TypeFor[config.Notifications](): {
		"slack": reflect.TypeFor[[]slack.Config](), "pagerduty": reflect.TypeFor[[]pagerduty.Config](), "webhooks": reflect.TypeFor[[]webhook.Config](),
	},
}

// schemas makes schemas of types by their yaml tags.
type schemas struct{ own map[reflect.Type]*huma.Schema }

// configSchema gives the schema of the daemon's configuration.
func configSchema(specs []actions.Spec) *huma.Schema {
	s := schemas{own: map[reflect.Type]*huma.Schema{
		reflect.TypeFor[model.Duration]():    duration(),
		reflect.TypeFor[config.Connection](): connectionSchema(specs),
		reflect.TypeFor[config.Plan]():       listOf(rungSchema(specs)),
	}}
	root := s.of(reflect.TypeFor[config.Config]())
	log, token := root.Properties["log"], root.Properties["tokens"].Items
	log.Properties["level"] = oneOf("debug", "info", "warn", "error")
	log.Properties["format"] = oneOf("text", "json")
	scope := oneOf()
	for _, name := range api.Scopes() {
		scope.Enum = append(scope.Enum, string(name))
	}
	token.Properties["scopes"].Items = scope
	return titled(root, "The configuration of the Gatekeeper daemon")
}

func titled(s *huma.Schema, title string) *huma.Schema {
	s.Title = title
	s.Extensions = map[string]any{"$schema": "https://json-schema.org/draft/2020-12/schema"}
	return s
}

func (s schemas) of(t reflect.Type) *huma.Schema {
	if own, ok := s.own[t]; ok {
		return own
	}
	if t.Kind() != reflect.Pointer && readsItself(t) {
		return anyOf("string", "integer", "number")
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Slice:
		return listOf(s.of(t.Elem()))
	case reflect.Map:
		return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: s.of(t.Elem())}
	case reflect.Struct:
		o := object(map[string]*huma.Schema{})
		s.fields(t, o.Properties)
		return o
	case reflect.Bool:
		return &huma.Schema{Type: huma.TypeBoolean}
	case reflect.Float32, reflect.Float64:
		return &huma.Schema{Type: huma.TypeNumber}
	case reflect.String:
		return &huma.Schema{Type: huma.TypeString}
	default:
		return &huma.Schema{Type: huma.TypeInteger}
	}
}

func readsItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) || p.Implements(reflect.TypeFor[yaml.Unmarshaler]())
}

// fields gives a struct's fields by their keys, with those of inlined structs.
func (s schemas) fields(t reflect.Type, to map[string]*huma.Schema) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch section, ok := sections[t][name]; {
		case name == "-" || !f.IsExported():
		case strings.Contains(options, "inline"):
			s.fields(f.Type, to)
		case ok:
			to[name] = s.of(section)
		case name != "":
			to[name] = s.of(f.Type)
		}
	}
}

// connectionSchema gives one alternative for every kind of connection.
func connectionSchema(specs []actions.Spec) *huma.Schema {
	all, seen := &huma.Schema{}, map[string]bool{}
	for _, spec := range specs {
		if spec.Connection == "" || seen[spec.Connection] {
			continue
		}
		seen[spec.Connection] = true
		one := settingsSchema(spec.Connects)
		one.Properties["kind"] = oneOf(spec.Connection)
		one.Required = append([]string{"kind"}, one.Required...)
		all.AnyOf = append(all.AnyOf, one)
	}
	return all
}

// settingsSchema gives the schema of an action's or a connection's settings.
func settingsSchema(settings []actions.Setting) *huma.Schema {
	o := object(map[string]*huma.Schema{})
	for _, one := range settings {
		s := wordSchema(one.Type, one.Fields)
		s.Description = one.Doc
		o.Properties[one.Name] = s
		if one.Required {
			o.Required = append(o.Required, one.Name)
		}
	}
	return o
}

// wordSchema gives the schema of a type in the words of [actions.Setting].
func wordSchema(words string, fields []actions.Setting) *huma.Schema {
	if of, ok := strings.CutPrefix(words, "list of "); ok {
		return listOf(wordSchema(of, fields))
	}
	if of, ok := strings.CutPrefix(words, "map of "); ok {
		return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: wordSchema(of, fields)}
	}
	switch words {
	case "object":
		return settingsSchema(fields)
	case "any":
		return &huma.Schema{}
	case "duration":
		return duration()
	default:
		return &huma.Schema{Type: words}
	}
}

func object(properties map[string]*huma.Schema, required ...string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Properties: properties, Required: required, AdditionalProperties: false}
}

func listOf(items *huma.Schema) *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, Items: items}
}

func anyOf(types ...string) *huma.Schema {
	s := &huma.Schema{}
	for _, t := range types {
		s.AnyOf = append(s.AnyOf, &huma.Schema{Type: t})
	}
	return s
}

func oneOf(words ...string) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString}
	for _, w := range words {
		s.Enum = append(s.Enum, w)
	}
	return s
}

// duration is one as Prometheus writes it, such as 1h30m.
func duration() *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^([0-9.]+(ms|s|m|h|d|w|y))+$|^0$`}
}
