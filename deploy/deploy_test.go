package deploy

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/alertmanager"
	"github.com/gatekeeper-engine/gatekeeper/internal/etcd"
	"github.com/gatekeeper-engine/gatekeeper/internal/memory"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
	"github.com/gatekeeper-engine/gatekeeper/internal/retention"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/webhooks"
)

const (
	alertsFile    = "prometheus/alerts.yml"
	dashboardFile = "grafana/gatekeeper.json"
)

func groups(t *testing.T) []rulefmt.RuleGroup {
	content, err := os.ReadFile(alertsFile)
	require.NoError(t, err)
	parsed, errs := rulefmt.Parse(content, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	require.Empty(t, errs)
	return parsed.Groups
}

// expressions gives what the dashboard asks, with Grafana's variables filled in.
func expressions(t *testing.T) []string {
	content, err := os.ReadFile(dashboardFile)
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(content, &dashboard))
	var all []string
	for _, p := range dashboard.Panels {
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			all = append(all, strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h").Replace(target.Expr))
		}
	}
	return all
}

// names records the metrics that are registered.
type names map[string]bool

var fqName = regexp.MustCompile(`fqName: "([^"]+)"`)

func (n names) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc)
	go func() { c.Describe(descs); close(descs) }()
	for d := range descs {
		name := fqName.FindStringSubmatch(d.String())[1]
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			n[name+suffix] = true
		}
	}
	return nil
}

func (n names) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		_ = n.Register(c)
	}
}

func (n names) Unregister(prometheus.Collector) bool { return false }

func metrics(t *testing.T) names {
	n := names{}
	registry, err := actions.NewRegistry()
	require.NoError(t, err)
	_, err = engine.New(engine.Config{Journal: memory.New(), Actions: registry, Backends: map[string]rules.Querier{"": nil}, Registerer: n})
	require.NoError(t, err)
	deliver := func(context.Context, string, []gatekeeper.Alert) (int, int, error) { return 0, 0, nil }
	_, err = webhooks.New(webhooks.Config{Deliver: deliver, Log: slog.New(slog.DiscardHandler), Registerer: n})
	require.NoError(t, err)
	_, err = alertmanager.New(alertmanager.Config{}, slog.New(slog.DiscardHandler), n)
	require.NoError(t, err)
	_, err = notify.NewCounters(n)
	require.NoError(t, err)
	retention.NewKeeper(memory.New(), 0, slog.New(slog.DiscardHandler), n)
	etcd.Measure(n, nil)
	n["gatekeeper_config_last_reload_successful"] = true // of package main, which asks for it in a test of its own
	return n
}

func TestEveryMetricExists(t *testing.T) {
	known := metrics(t)
	all := expressions(t)
	for _, g := range groups(t) {
		for _, r := range g.Rules {
			all = append(all, r.Expr)
		}
	}
	for _, text := range all {
		expr, err := parser.NewParser(parser.Options{}).ParseExpr(text)
		require.NoError(t, err, text)
		parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
			if vs, ok := n.(*parser.VectorSelector); ok {
				require.True(t, known[vs.Name], "no metric %q: %s", vs.Name, text)
			}
			return nil
		})
	}
}

// A row of the guide may stand for several: gatekeeper_webhook_*_total.
func TestTheGuideHasEveryMetric(t *testing.T) {
	guide, err := os.ReadFile("../docs/guides/operating.md")
	require.NoError(t, err)
	patterns := regexp.MustCompile("`(gatekeeper_[a-z_*]+)`").FindAllStringSubmatch(string(guide), -1)
	known := metrics(t)
	for name := range known {
		if i := strings.LastIndex(name, "_"); known[name[:i]] {
			continue // a part of a histogram
		}
		require.True(t, slices.ContainsFunc(patterns, func(p []string) bool {
			ok, err := path.Match(p[1], name)
			require.NoError(t, err)
			return ok
		}), "the guide lacks the metric %s", name)
	}
}

func TestEveryAlertHasAPage(t *testing.T) {
	index, err := os.ReadFile("../docs/runbook/README.md")
	require.NoError(t, err)
	for _, g := range groups(t) {
		for _, r := range g.Rules {
			require.NotEmpty(t, r.Annotations["summary"], r.Alert)
			require.NotEmpty(t, r.Labels["severity"], r.Alert)
			require.True(t, strings.HasSuffix(r.Annotations["runbook_url"], "/docs/runbook/"+r.Alert+".md"), r.Alert)
			page, err := os.ReadFile(filepath.Join("..", "docs", "runbook", r.Alert+".md"))
			require.NoError(t, err)
			for _, part := range []string{"# " + r.Alert, "**Means.**", "**Do.**"} {
				require.Contains(t, string(page), part)
			}
			require.Contains(t, string(index), r.Alert+".md")
		}
	}
}

func TestPrometheusLoadsThem(t *testing.T) {
	content, err := os.ReadFile(alertsFile)
	require.NoError(t, err)
	server := servertest.Prometheus(t, "global: {evaluation_interval: 1s}\nrule_files: [alerts.yml]\n", map[string]string{"alerts.yml": string(content)})
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, State string }
			}
		}
	}
	health := map[string]string{}
	require.Eventually(t, func() bool {
		get(t, server+"/api/v1/rules", &answer)
		for _, g := range answer.Data.Groups {
			for _, r := range g.Rules {
				health[r.Name] = r.Health
			}
		}
		return health["GatekeeperStoreFilling"] == "ok"
	}, 30*time.Second, 100*time.Millisecond)
	for _, g := range groups(t) {
		for _, r := range g.Rules {
			require.Equal(t, "ok", health[r.Alert], r.Alert)
		}
	}
	for _, expr := range expressions(t) {
		var answer struct{ Status, Error string }
		get(t, server+"/api/v1/query?query="+url.QueryEscape(expr), &answer)
		require.Equal(t, "success", answer.Status, "%s: %s", expr, answer.Error)
	}
}

func get(t *testing.T, url string, into any) {
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.NoError(t, json.NewDecoder(resp.Body).Decode(into))
}
