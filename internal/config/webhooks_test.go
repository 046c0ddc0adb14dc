package config

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

func TestWebhooks(t *testing.T) {
	c := Parse("g.yml", "/etc/gatekeeper", `
webhooks:
  - {name: ci, secret_file: secrets/ci, services: [shop-*]}
notifications:
  slack: [{name: a}, {name: b}]
  pagerduty: [{name: c}]
  webhooks: [{name: d}]
`)
	require.NoError(t, c.Err())
	require.Equal(t, "/etc/gatekeeper/secrets/ci", c.Webhooks[0].SecretFile)
	require.Equal(t, gatekeeper.Globs{"shop-*"}, c.Webhooks[0].Services)
	require.Len(t, c.Notifications.Slack, 2)
	require.Len(t, c.Notifications.PagerDuty, 1)
	require.Len(t, c.Notifications.Webhooks, 1)
}

func TestWrongWebhooksAreToldAtTheirPlace(t *testing.T) {
	err := Parse("g.yml", "/", `webhooks:
  - {name: a/b, secret_file: f}
  - {name: ci}
  - {name: ci, secret_file: f, services: ["["]}
notifications: {teams: []}
`).Err()
	broken, ok := errors.AsType[*Broken](err)
	require.True(t, ok, "%v", err)
	type place struct{ line, column int }
	var places []place
	for _, p := range broken.Problems {
		places = append(places, place{p.Line, p.Column})
	}
	require.Equal(t, []place{{2, 12}, {3, 5}, {4, 12}, {4, 42}, {5, 17}}, places, "%v", err)
	require.ErrorContains(t, err, `unknown key "teams"`)
}

func TestSecretsOfTheEnvironmentAreNoPaths(t *testing.T) {
	c := Parse("g.yml", "/etc/gatekeeper", `
webhooks:
  - {name: ci, secret_file: "env:CI_SECRET"}
tokens:
  - {name: ci, scopes: [read], token_file: "env:CI_TOKEN"}
`)
	require.NoError(t, c.Err())
	require.Equal(t, "env:CI_SECRET", c.Webhooks[0].SecretFile)
	require.Equal(t, "env:CI_TOKEN", c.Tokens[0].TokenFile)
}
