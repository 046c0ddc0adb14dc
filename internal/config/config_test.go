package config

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

const full = `
listen: 0.0.0.0:9095
external_url: https://gatekeeper.example.com
data_dir: data
health_files: /etc/gatekeeper/health
backends:
  main:
    prometheus:
      url: http://prometheus:9090
      bearer_token_file: secrets/prometheus
      timeout: 5s
      extra_files: {a: x, b: /y}
  local: {tsdb: {}}
default_backend: main
connections:
  edge: {kind: haproxy, socket: /run/haproxy.sock, weights: [1, 2.5, true], password_file: pw}
plans:
  flags-off:
    - action: flag/set
      with: {flag: new, enabled: false}
alertmanagers:
  - {url: "http://alertmanager:9093"}
tokens:
  - {name: ci, scopes: [open, read], token_file: secrets/ci}
guards:
  kill_switch_file: /run/kill
  dry_run_services: [legacy]
  cool_down: 1h30m
  freezes:
    - {name: nights, schedule: "0 22 * * *", duration: 8h, time_zone: Europe/Berlin, services: ["shop-*"], hold_rollbacks: true}
query_timeout: 3s
action_timeout: 1m
log: {level: debug, format: json}
`

// settings stands for a technology's own.
type settings struct {
	Shared     `yaml:",inline"`
	Timeout    model.Duration    `yaml:"timeout"`
	ExtraFiles map[string]string `yaml:"extra_files"`
}

// Shared is inlined.
type Shared struct {
	URL             string `yaml:"url"`
	BearerTokenFile string `yaml:"bearer_token_file"`
}

func (s settings) Validate() error {
	if s.URL == "" {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "write it down", "there is no url")
	}
	return nil
}

func TestFull(t *testing.T) {
	c := Parse("gatekeeper.yml", "/etc/gatekeeper", full)
	require.NoError(t, c.Err())
	require.Equal(t, "/etc/gatekeeper/data", c.DataDir)
	require.Equal(t, "/etc/gatekeeper/health", c.HealthFiles)
	require.Equal(t, "main", c.DefaultBackend)
	require.Equal(t, "haproxy", c.Connections["edge"].Kind)
	require.JSONEq(t, `{"socket":"/run/haproxy.sock","weights":[1,2.5,true],"password_file":"/etc/gatekeeper/pw"}`, string(c.Connections["edge"].Settings))
	require.Equal(t, "flag/set", c.Plans["flags-off"][0].Action)
	require.JSONEq(t, `{"flag":"new","enabled":false}`, string(c.Plans["flags-off"][0].With))
	require.Equal(t, "/etc/gatekeeper/secrets/ci", c.Tokens[0].TokenFile)
	require.Equal(t, []string{"open", "read"}, c.Tokens[0].Scopes)
	require.Equal(t, 90*time.Minute, time.Duration(c.Guards.CoolDown))
	f := c.Guards.Freezes[0]
	f.At = Section{}
	require.Equal(t, Freeze{Name: "nights", Schedule: "0 22 * * *", Duration: model.Duration(8 * time.Hour), TimeZone: "Europe/Berlin", Services: []string{"shop-*"}, HoldRollbacks: true}, f)

	s := settings{Timeout: model.Duration(time.Minute)}
	require.True(t, c.Backends["main"].Prometheus.Decode(&s))
	require.Equal(t, settings{
		Shared: Shared{URL: "http://prometheus:9090", BearerTokenFile: "/etc/gatekeeper/secrets/prometheus"}, Timeout: model.Duration(5 * time.Second),
		ExtraFiles: map[string]string{"a": "/etc/gatekeeper/x", "b": "/y"},
	}, s)
	require.NoError(t, c.Err())
}

func TestDefaultsServeOneMachine(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", "")
	t.Setenv("XDG_STATE_HOME", "/home/alice/state")
	for _, text := range []string{"", "# nothing but a comment\n", "tokens:\nbackends:\nlog:\n"} {
		c := Parse("gatekeeper.yml", ".", text)
		require.NoError(t, c.Err())
		require.Equal(t, "127.0.0.1:9095", c.Listen)
		require.Equal(t, "http://127.0.0.1:9095", c.ExternalURL)
		require.Equal(t, "/home/alice/state/gatekeeper", c.DataDir)
		require.Equal(t, "/home/alice/state/gatekeeper/kill-switch", c.Guards.KillSwitchFile)
		require.Equal(t, "local", c.DefaultBackend)
		require.Equal(t, "flags", c.Connections["flags"].Kind)
		require.Equal(t, time.Duration(0), time.Duration(c.Guards.CoolDown))
		s := settings{Shared: Shared{URL: "default"}}
		require.True(t, c.Backends["local"].TSDB.Decode(&s), "a section that is not written down keeps the defaults")
		require.Equal(t, "default", s.URL)
	}
}

func TestEverythingWrongIsToldAtOnce(t *testing.T) {
	text := `listen: 0.0.0.0:9095
lisen: x
budgets: {}
query_timeout: 10
backends:
  main: {promtheus: {}}
  other:
    prometheus: {url: 1, tiemout: 5s}
    tsdb: {}
connections:
  edge: {socket: /x}
  list: []
plans:
  broken:
    - actoin: flag/set
log:
  level: loud
  level: info
guards:
  blast_radius: 1
  freezes: {name: x}
tokens:
  - {name: ci, scopes: [open]}
`
	c := Parse("gatekeeper.yml", ".", text)
	var s settings
	require.False(t, c.Backends["other"].Prometheus.Decode(&s))
	broken, ok := errors.AsType[*Broken](c.Err())
	require.True(t, ok)
	var got []string
	for _, p := range broken.Problems {
		got = append(got, fmt.Sprintf("%d:%d %s", p.Line, p.Column, p.Message))
	}
	for _, want := range []string{
		`2:1 unknown key "lisen"; did you mean "listen"?`,
		`3:1 "budgets" is not supported yet`,
		`6:10 unknown key "promtheus"; did you mean "prometheus"?`,
		`6:9 backend "main" must have exactly one kind`,
		`8:17 backend "other" must have exactly one kind`[5:],
		`8:26 unknown key "tiemout"; did you mean "timeout"?`,
		`11:9 a connection needs its kind`,
		`12:9 a connection must be a mapping, not a list`,
		`18:3 "level" stands twice; the first time in line 17`,
		`17:10 level can't be "loud"`,
		`20:3 "blast_radius" is not supported yet`,
		`21:12 freezes must be a list, not a mapping`,
		`token "ci" needs exactly one of token_hash and token_file`,
		`there are several backends, so default_backend must name one of main, other`,
		`15:7 `,
	} {
		require.Condition(t, func() bool {
			for _, g := range got {
				if bytes.Contains([]byte(g), []byte(want)) {
					return true
				}
			}
			return false
		}, "%q is not told in %q", want, got)
	}
	var out bytes.Buffer
	require.NoError(t, broken.Problems.Render(&out, broken.Source))
	require.Contains(t, out.String(), "gatekeeper.yml:2:1")
	require.Contains(t, out.String(), "^^^^^")
}

func TestOpenToOthersNeedsTokens(t *testing.T) {
	for listen, ok := range map[string]bool{
		"127.0.0.1:9095": true, "localhost:1": true, "[::1]:1": true,
		":9095": false, "0.0.0.0:9095": false, "[::]:9095": false, "10.0.0.1:1": false, "gatekeeper.example.com:1": false, "nonsense": false,
	} {
		err := Parse("c.yml", ".", "external_url: http://x\nlisten: '"+listen+"'").Err()
		require.Equal(t, ok, err == nil, "%s: %v", listen, err)
	}
}

func TestSyntax(t *testing.T) {
	for text, where := range map[string]string{
		"listen: [":                   "c.yml:1:1",
		"a: 1\n\tb: 2":                "c.yml:2:1",
		"listen: a:1\n---\nlisten: b": "c.yml:2:1",
		"- 1":                         "c.yml:1:1",
		"just words":                  "c.yml:1:1",
		"backends: &x {a: *x}":        "",
	} {
		err := Parse("c.yml", ".", text).Err()
		require.ErrorContains(t, err, where, text)
	}
	broken, ok := errors.AsType[*Broken](Parse("c.yml", ".", "a: 1\n\tb: 2").Err())
	require.True(t, ok)
	require.Contains(t, broken.Problems[0].Hint, "not by tabs")
}

func TestSettingsProblemsStandAtTheirKeys(t *testing.T) {
	c := Parse("c.yml", ".", "connections:\n  edge:\n    kind: haproxy\n    servers:\n      - {name: a}\n      - {name: b}\n")
	c.Connections["edge"].At.Check(fmt.Errorf("connection: %w", actions.Problems{
		{Path: []string{"servers", "1", "name"}, Says: "is odd"}, {Path: []string{"socket"}, Says: "is missing"},
	}))
	broken, ok := errors.AsType[*Broken](c.Err())
	require.True(t, ok)
	require.Equal(t, []int{3, 5, 6, 16}, []int{broken.Problems[0].Line, broken.Problems[0].Column, broken.Problems[1].Line, broken.Problems[1].Column})
}

func TestReadNamesTheFile(t *testing.T) {
	_, err := Read(filepath.Join(t.TempDir(), "none.yml"))
	require.ErrorContains(t, err, "none.yml")
	require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
}

func TestBadGlobsOfDryRuns(t *testing.T) {
	err := Parse("c.yml", ".", "guards:\n  dry_run_services: ['[x']\n").Err()
	require.ErrorContains(t, err, `c.yml:2:`)
	require.ErrorContains(t, err, `the glob "[x" can't be used`)
}
