package tsdb

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

func ruleFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "recording.yml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

const inOrder = `
groups:
- name: shop
  interval: 1s
  labels: {team: shop}
  rules:
  - {record: "job:req:sum", expr: sum by (job) (req)}
  - {record: "job:req:double", expr: "job:req:sum * 2", labels: {kind: double}}
`

// The second rule of a group sees what the first one recorded at the same slot, and a series that is
// no longer recorded ends at once.
func TestRecordingRulesInOrder(t *testing.T) {
	s := open(t, Config{Path: t.TempDir(), RecordingRuleFiles: []string{ruleFile(t, inOrder)}}, nil)
	require.Len(t, s.recordings, 1)
	now := time.Now().Truncate(time.Second)
	add := func(at time.Time, job string, v float64) {
		app := s.db.Appender(t.Context())
		_, err := app.Append(0, labels.FromStrings("__name__", "req", "job", job), at.UnixMilli(), v)
		require.NoError(t, err)
		require.NoError(t, app.Commit())
	}
	add(now, "a", 2)
	s.recordGroup(t.Context(), s.recordings[0], now)
	v, err := s.Query(t.Context(), "job:req:double", now)
	require.NoError(t, err)
	require.Equal(t, []gatekeeper.Sample{{
		Labels: map[string]string{"__name__": "job:req:double", "job": "a", "team": "shop", "kind": "double"}, Value: 4,
	}}, v.Samples)

	later := now.Add(6 * time.Minute) // req{job="a"} is out of the lookback
	add(later, "b", 1)
	s.recordGroup(t.Context(), s.recordings[0], later)
	v, err = s.Query(t.Context(), `{__name__=~"job:req:.*"}`, later)
	require.NoError(t, err)
	require.Len(t, v.Samples, 2)
	s.recordGroup(t.Context(), s.recordings[0], later.Add(6*time.Minute))
	v, err = s.Query(t.Context(), `job:req:sum`, later.Add(6*time.Minute))
	require.NoError(t, err)
	require.Empty(t, v.Samples)
}

func TestRecordingRulesRun(t *testing.T) {
	s := open(t, Config{Path: t.TempDir(), RecordingRuleFiles: []string{ruleFile(t, "groups: [{name: g, interval: 1s, rules: [{record: one, expr: vector(1)}]}]")}}, nil)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	require.Eventually(t, func() bool {
		v, err := s.Query(t.Context(), "one", time.Now())
		return err == nil && len(v.Samples) == 1 && v.Samples[0].Value == 1
	}, 20*time.Second, 20*time.Millisecond)
	stop()
	require.NoError(t, <-ran)
}

func TestBadRecordingRulesAreToldWithTheirPlace(t *testing.T) {
	for text, says := range map[string]string{
		"groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]":                            "can't hold the alert",
		"groups: [{name: g, rules: [{record: a, expr: sum(}]}]":                              ":1:",
		`groups: [{name: g, rules: [{record: a, expr: 'up{version="${version}"}'}]}]`:        "${version} can't stand in a recording rule",
		"groups: [{name: g, rules: [{record: 'a{b=\"c\"}', expr: up}]}]":                     "can't be the name of a series",
		"groups: [{name: g, rules: [{record: a, expr: up, for: 1m, annotations: {a: b}}]}]":  `can't have "for"`,
		"groups: [{name: g, rules: [{record: a, expr: up, labels: {__name__: b}}]}]":         "can't be a label of a recorded series",
		"groups: [{name: g, rules: [{record: a, expr: up, keep_firing_for: 5m, alert: B}]}]": `can't have "alert"`,
	} {
		file := ruleFile(t, text)
		_, err := Open(Config{Path: t.TempDir(), RecordingRuleFiles: []string{file}}, slog.New(slog.DiscardHandler), nil)
		require.ErrorContains(t, err, says, text)
		require.ErrorContains(t, err, "\n"+file+":1:", "its place")
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
	}
	_, err := Open(Config{Path: t.TempDir(), RecordingRuleFiles: []string{"/no/such"}}, slog.New(slog.DiscardHandler), nil)
	require.ErrorContains(t, err, "recording_rule_files")
	big := ruleFile(t, "groups: []\n#"+string(make([]byte, 10<<20)))
	_, err = Open(Config{Path: t.TempDir(), RecordingRuleFiles: []string{big}}, slog.New(slog.DiscardHandler), nil)
	require.ErrorContains(t, err, "more than 1048576")
}
