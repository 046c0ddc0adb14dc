package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
)

// audited gives what the command lists.
func audited(t *testing.T, args ...string) []gatekeeper.AuditRecord {
	t.Helper()
	var page api.AuditList
	require.NoError(t, json.Unmarshal([]byte(gk(t, 0, append([]string{"audit", "-o", "json"}, args...)...)), &page))
	return page.Records
}

// Everything that concerns more than one release is listed with who did it, over a restart and
// over a snapshot into another store.
func TestAudit(t *testing.T) {
	t.Setenv("GATEKEEPER_ACTOR", "carol")
	r := newReloading(t)
	t.Setenv("GATEKEEPER_TOKEN", r.opsSecret)
	gk(t, 0, "flag", "set", "new-checkout", "--percentage", "50", "--actor", "ann", "--why", "half of them")
	gk(t, 0, "kill-switch", "on", "--why", "migration", "--actor", "ann")
	gk(t, 0, "kill-switch", "off", "--actor", "ann")
	r.write(r.good() + "policy: []\nplans: {undo: [{action: flag/set, connection: mine, with: {flag: f, enabled: false}}]}\n")
	status, body := r.post()
	require.Equal(t, 200, status, body)
	r.write(r.good() + "guards: {cool_down: a-secret-in-the-wrong-place}\n")
	status, _ = r.post()
	require.Equal(t, 422, status)
	r.write(r.good() + "policy: []\n")
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	require.Eventually(t, func() bool { return len(audited(t)) == 7 }, 10*time.Second, 10*time.Millisecond)

	all := audited(t)
	slices.Reverse(all)
	type line struct {
		seq            int64
		actor          string
		means          gatekeeper.Means
		what           gatekeeper.Deed
		outcome, after string
	}
	for i, want := range []line{
		{1, "ops (carol)", "token", "flag.set", "accepted", `"enabled":true`},
		{2, "ops (ann)", "token", "flag.set", "accepted", `"percentage":50`},
		{3, "ops (ann)", "token", "kill_switch.on", "accepted", `"why":"migration"`},
		{4, "ops (ann)", "token", "kill_switch.off", "accepted", `"on":false`},
		{5, "ops", "token", "config.reloaded", "accepted", `"changed":["plans.undo","policy"]`},
		{6, "ops", "token", "config.reloaded", "refused", `"changed":["guards.cool_down","plans.undo","policy"]`},
		{7, "SIGHUP", "signal", "config.reloaded", "accepted", `"changed":["plans.undo"]`},
	} {
		got := all[i]
		require.Equal(t, []any{want.seq, want.actor, want.means, want.what, want.outcome}, []any{got.Seq, got.Actor, got.Means, got.What, got.Outcome})
		require.Contains(t, compact(t, got.After), want.after)
	}
	require.Empty(t, all[0].Before)
	require.Contains(t, compact(t, all[1].Before), `"percentage":100`)
	require.Equal(t, "every release", all[2].Subject)
	require.Equal(t, "migration", all[2].Why)
	var before, after inForce
	require.NoError(t, json.Unmarshal(all[4].After, &before))
	require.NoError(t, json.Unmarshal(all[6].Before, &after))
	require.Equal(t, before.Digest, after.Digest, "the refused one is not in force")
	require.Contains(t, all[5].Refusal, "1 problem, which the log tells: at line and column 7:21")
	require.NotContains(t, gk(t, 0, "audit", "-o", "json"), "a-secret")

	require.Equal(t, "half of them", all[1].Why)
	require.Len(t, audited(t, "--actor", "ann"), 3)
	require.Len(t, audited(t, "--actor", "SIGHUP", "--limit", "1"), 1)
	require.Equal(t, all[3:5], reversed(audited(t, "--limit", "2", "--after", "6")))
	require.Len(t, audited(t, "--since", "1h"), 7)
	require.Empty(t, audited(t, "--until", "1h"))
	gk(t, 2, "audit", "--since", "yesterday")
	require.Regexp(t, `ops \(ann\) +token +kill_switch.on +every release +accepted +migration`, gk(t, 0, "audit"))
	require.Contains(t, gk(t, 0, "audit", "-o", "wide"), `"percentage":50`)

	snapshot := filepath.Join(r.dir, "snapshot")
	gk(t, 0, "store", "snapshot", snapshot)
	require.Equal(t, 0, r.stop(), "%s", r.said)
	r.stop, r.said = begin(t, r.dir, r.good())
	require.Equal(t, all, reversed(audited(t)))
	require.Equal(t, 0, r.stop(), "%s", r.said)

	other := t.TempDir()
	require.Contains(t, gk(t, 0, "store", "restore", snapshot, "--data-dir", filepath.Join(other, "data")), "7 audit records")
	stop, said := begin(t, other, r.good())
	require.Equal(t, all, reversed(audited(t)))
	gk(t, 0, "flag", "set", "another")
	require.EqualValues(t, 8, audited(t)[0].Seq)
	require.Equal(t, 0, stop(), "%s", said)
}

func compact(t *testing.T, state json.RawMessage) string {
	var b bytes.Buffer
	require.NoError(t, json.Compact(&b, state))
	return b.String()
}

func reversed(all []gatekeeper.AuditRecord) []gatekeeper.AuditRecord {
	slices.Reverse(all)
	return all
}

// What somebody wrote moves no cursor and recolours nothing on the terminal of who reads it.
func TestTerminalsStayAsTheyAre(t *testing.T) {
	begin(t, t.TempDir(), "")
	const hostile = "a\x1b[2Jb\u009b31mc\u202ed\x07e\nf"
	gk(t, 0, "flag", "set", "f", "--description", hostile, "--why", hostile, "--actor", hostile)
	gk(t, 0, "flag", "set", "f", "--enabled", "--why", hostile, "--actor", hostile)
	told := gk(t, 0, "kill-switch", "on", "--why", hostile, "--actor", hostile)
	for _, args := range [][]string{
		{"audit"}, {"audit", "-o", "wide"}, {"kill-switch", "status"}, {"flag", "get", "f", "-o", "wide"},
	} {
		told += gk(t, 0, args...)
	}
	require.Contains(t, told, "a[2Jb31mcde f")
	for _, r := range told {
		require.False(t, r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r), "%q in %q", r, told)
	}
	require.Equal(t, 12, strings.Count(told, "\n"), "each on its own line: %s", told)
}
