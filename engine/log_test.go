package engine_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// lines is a handler that keeps what is logged, with what was said before of all of it.
type lines struct {
	all  *[]line
	mu   *sync.Mutex
	said map[string]string
}

type line struct {
	level slog.Level
	text  string
	said  map[string]string
}

func (l lines) Enabled(context.Context, slog.Level) bool { return true }
func (l lines) WithGroup(string) slog.Handler            { return l }

func (l lines) with(attrs []slog.Attr) map[string]string {
	said := map[string]string{}
	for name, value := range l.said {
		said[name] = value
	}
	for _, a := range attrs {
		said[a.Key] = a.Value.String()
	}
	return said
}

func (l lines) WithAttrs(attrs []slog.Attr) slog.Handler {
	l.said = l.with(attrs)
	return l
}

func (l lines) Handle(_ context.Context, r slog.Record) error {
	var attrs []slog.Attr
	r.Attrs(func(a slog.Attr) bool { attrs = append(attrs, a); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	*l.all = append(*l.all, line{r.Level, r.Message, l.with(attrs)})
	return nil
}

// aboutRules are the lines that must name a rule.
var aboutRules = []string{"a rule can't see", "a rule is unhealthy", "a rule was judged", "a breach, and nothing is rolled back", "rollback decided", "vetoed"}

// Every line about a release names it with its service and version, and one about a rule the rule:
// over an outage of the backend, a hold, a restart, a breach and the rollback.
func TestLogNamesReleaseAndRule(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		var all []line
		var mu sync.Mutex
		w.stop()
		w.cfg.Log = slog.New(lines{&all, &mu, nil})
		w.start()
		w.traffic(between(10*mnt, forever, 0.05))
		w.outage(2*mnt, 6*mnt)
		quiet := `
      - alert: Quiet
        expr: sum(errors{service="${service}", version="${version}"}) / sum(requests{service="${service}", version="${version}"}) > 0.02
        labels: {severity: info}
`
		id := w.opened(ruleR + quiet + flagPlan + "\nrespond:\n  - {matchers: ['severity=\"info\"'], do: notify}\n  - {do: rollback}\n")
		w.to(5 * mnt)
		require.Equal(t, gatekeeper.HoldBlind, w.release(id).Hold.Reason)
		w.stop()
		w.start()
		w.to(20 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
		w.stop()

		seen := map[string]line{}
		for _, l := range all {
			seen[l.text] = l
			require.Equal(t, id, l.said["release"], "%+v", l)
			require.Equal(t, "checkout", l.said["service"], "%+v", l)
			require.Equal(t, "v2", l.said["version"], "%+v", l)
			for _, text := range aboutRules {
				if l.text == text {
					require.NotEmpty(t, l.said["rule"], "%+v", l)
				}
			}
		}
		for text, want := range map[string]line{
			"a rule can't see":                     {slog.LevelWarn, "connection refused", map[string]string{"verdict": "error"}},
			"held":                                 {slog.LevelWarn, "", map[string]string{"reason": "blind", "rule": "R"}},
			"release taken up again":               {slog.LevelInfo, "", map[string]string{"state": "held"}},
			"a rule is unhealthy":                  {slog.LevelInfo, "", map[string]string{"verdict": "unhealthy"}},
			"a breach, and nothing is rolled back": {slog.LevelWarn, "", map[string]string{"rule": "Quiet"}},
			"rollback decided":                     {slog.LevelWarn, "", map[string]string{"rule": "R", "cause": "breach"}},
			"rung attempted":                       {slog.LevelInfo, "", map[string]string{"rung": "1"}},
			"closed":                               {slog.LevelInfo, "", map[string]string{"outcome": "rolled_back"}},
		} {
			got, ok := seen[text]
			require.True(t, ok, "%q was not logged", text)
			require.Equal(t, want.level, got.level, text)
			for name, value := range want.said {
				require.Equal(t, value, got.said[name], "%s: %+v", text, got)
			}
			require.True(t, want.text == "" || strings.Contains(got.said["err"], want.text), "%+v", got)
		}
	})
}
