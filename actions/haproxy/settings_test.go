package haproxy

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

func bind(with, connection string) error {
	registry, err := actions.NewRegistry(Specs()...)
	if err != nil {
		return err
	}
	_, _, err = registry.Open("haproxy/switch", json.RawMessage(with),
		actions.Binding{Connection: actions.Connection{Name: "lb", Kind: Kind, Settings: json.RawMessage(connection)}})
	return err
}

func TestBadSettings(t *testing.T) {
	for with, says := range map[string]string{
		`{}`:                                                  "backend: is missing",
		`{"backend":"shop;shutdown"}`:                         "backend: is no name",
		`{"backend":"a b"}`:                                   "backend: is no name",
		`{"backend":"shop\nset server"}`:                      "backend: is no name",
		`{"backend":"shop/blue"}`:                             "backend: is no name",
		`{"backend":"shop","only":["#1"]}`:                    "only.0: is no name of a server",
		`{"backend":"shop","servers":{"b\n":{}}}`:             `"b\n" is no name of a server`,
		`{"backend":"shop","servers":{"b;x":{}}}`:             `"b;x" is no name of a server`,
		`{"backend":"shop","servers":{"b":{"wieght":1}}}`:     `servers.b.wieght: unknown setting; did you mean "weight"?`,
		`{"backend":"shop","servers":{"b":{"weight":257}}}`:   "servers.b.weight: want 0 to 256",
		`{"backend":"shop","servers":{"b":{"weight":-1}}}`:    "servers.b.weight: want 0 to 256",
		`{"backend":"shop","servers":{"b":{"weight":"50%"}}}`: "servers.b.weight: want an integer, not a string",
		`{"backend":"shop","servers":{"b":{"weight":0.5}}}`:   "servers.b.weight: want an integer, not 0.5",
		`{"backend":"shop","servers":{"b":{"state":"down"}}}`: "servers.b.state: want ready, drain or maint",
		`{"backend":"shop","servers":{"b":{"weight":0}}}`:     "nobody would be served",
		`{"backend":"shop","servers":{"b":{}},"only":["b"]}`:  "only: can't be given with servers",
		`{"backend":"shop","drain":"1h"}`:                     "drain: want 0s to 10s",
		`{"backend":"shop","drain":"soon"}`:                   "drain: duration \"soon\"",
	} {
		err := bind(with, `{"socket":"/run/haproxy.sock"}`)
		require.ErrorContains(t, err, says, with)
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err), with)
	}
}

func TestBadConnections(t *testing.T) {
	for connection, says := range map[string]string{
		`{}`: "want either socket or address",
		`{"socket":"/a","address":"127.0.0.1:1"}`: "want either socket or address",
		`{"socket":"a.sock"}`:                     "socket: want an absolute path",
		`{"address":"localhost"}`:                 "address: want host:port",
		`{"sokcet":"/a"}`:                         `sokcet: unknown setting; did you mean "socket"?`,
		`{"socket":"/a","backends":["x y"]}`:      "backends.0: is no name of a backend",
	} {
		require.ErrorContains(t, bind(`{"backend":"shop"}`, connection), says, connection)
	}
	err := bind(`{"backend":"shop"}`, `{"socket":"/a","backends":["billing"]}`)
	require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err))
}

func TestTargetOfAnotherKindIsRefused(t *testing.T) {
	for data, says := range map[string]string{
		`{"backend":"billing","servers":{"a":{"weight":1,"state":"ready"}}}`:        "not of backend shop",
		`{"backend":"shop","servers":{"a\nshutdown":{"weight":1,"state":"ready"}}}`: "can't be used",
		`{"backend":"shop","servers":{"a":{"weight":1,"state":"x"}}}`:               "can't be used",
		`{"backend":"shop","servers":{},"extra":1}`:                                 "unknown field",
	} {
		_, err := decodeTarget(gatekeeper.Target{Version: 1, Data: json.RawMessage(data)}, "shop")
		require.ErrorContains(t, err, says, data)
	}
	_, err := decodeTarget(gatekeeper.Target{Version: 2, Data: json.RawMessage(`{}`)}, "shop")
	require.ErrorContains(t, err, "version 2 is not known")
}

func TestPlanNeverLeavesNobody(t *testing.T) {
	goal := target{Backend: "shop", Servers: map[string]want{
		"a": {Weight: 0, State: maint}, "b": {Weight: 100, State: ready}, "c": {Weight: 0, State: ready},
	}}
	in, out := goal.plan(map[string]live{
		"a": {Weight: 50, State: ready}, "b": {Weight: 1, State: maint}, "c": {Weight: 50, State: ready},
	})
	require.Equal(t, []string{"set server shop/b weight 100", "set server shop/b state ready"}, lines(in))
	require.Equal(t, []string{"set server shop/a state maint", "set server shop/a weight 0", "set server shop/c weight 0"}, lines(out))
}

func lines(commands []command) []string {
	var all []string
	for _, c := range commands {
		all = append(all, c.String())
	}
	return all
}

func FuzzParseServers(f *testing.F) {
	f.Add("1\n# be_id be_name srv_id srv_name srv_op_state srv_admin_state srv_uweight srv_check_result srv_check_state\n3 shop 1 blue 2 0 10 0 0\n")
	f.Add("# be_name\nshop\n")
	f.Fuzz(func(t *testing.T, answer string) {
		all, err := parseServers(answer, "shop")
		if err == nil && len(all) == 0 {
			t.Error("no servers and no error")
		}
	})
}

func FuzzParseSessions(f *testing.F) {
	f.Add("# pxname,svname,scur\nshop,blue,3\n")
	f.Fuzz(func(t *testing.T, answer string) {
		_, _ = parseSessions(answer, "shop")
	})
}
