package config

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

const policy = `
policy:
  - services: ['shop-*']
    open: [ci-shop, 'ops-*']
    allow:
      - {actions: [haproxy/switch], connections: [edge], targets: ['shop-*']}
      - {actions: ['flag/*']}
  - services: ['*']
    open: [root]
  - services: [blog]
    open: ['*']
    allow: [{connections: []}]
`

func TestPolicy(t *testing.T) {
	c := Parse("gatekeeper.yml", "/etc/gatekeeper", policy)
	require.NoError(t, c.Err())
	for _, tt := range []struct {
		client, service string
		want            bool
	}{
		{"ci-shop", "shop-eu", true},
		{"ops-1", "shop-eu", true},
		{"ci", "shop-eu", false},
		{"", "shop-eu", false},
		{"ci-shop", "pay", false},
		{"root", "pay", true},
		{"", "blog", true},
	} {
		err := c.Policy.MayOpen(tt.client, tt.service)
		require.Equal(t, tt.want, err == nil, "%v", tt)
		if err != nil {
			require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err))
			require.ErrorContains(t, err, tt.service)
		}
	}
	for _, tt := range []struct {
		service, action, connection string
		names                       []string
		want                        bool
	}{
		{"shop-eu", "haproxy/switch", "edge", []string{"shop-eu"}, true},
		{"shop-eu", "haproxy/switch", "edge", []string{"pay"}, false},
		{"shop-eu", "haproxy/switch", "edge", []string{"shop-eu", "pay"}, false},
		{"shop-eu", "haproxy/switch", "edge", nil, false},
		{"shop-eu", "haproxy/switch", "core", []string{"shop-eu"}, false},
		{"shop-eu", "exec/run", "edge", []string{"shop-eu"}, false},
		{"shop-eu", "flag/set", "flags", []string{"anything"}, true},
		{"pay", "flag/set", "flags", []string{"anything"}, false},
		{"blog", "flag/set", "flags", nil, false},
	} {
		err := c.Policy.MayUse(tt.service, gatekeeper.Rung{Action: tt.action, Connection: tt.connection}, tt.names)
		require.Equal(t, tt.want, err == nil, "%v", tt)
		if err != nil {
			require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err))
			require.ErrorContains(t, err, tt.action)
		}
	}
}

func TestPolicyProblems(t *testing.T) {
	require.Nil(t, Parse("gatekeeper.yml", "/", "").Policy, "without one everything is allowed")
	empty := Parse("gatekeeper.yml", "/", "policy:\n")
	require.NoError(t, empty.Err())
	require.Error(t, empty.Policy.MayOpen("ci", "shop"), "an empty one allows nothing")
	c := Parse("gatekeeper.yml", "/", `policy:
  - {open: [ci]}
  - {services: [shop]}
  - {services: ['['], open: [ci]}
  - {services: [shop], allow: [{targets: ['']}, {target: x}]}
`)
	err := c.Err()
	for _, want := range []string{":2:5", "for no services", ":3:5", "allows nothing", `:4:16: error: the glob "["`, `:5:42: error: the glob ""`, `unknown key "target"`} {
		require.ErrorContains(t, err, want)
	}
}
