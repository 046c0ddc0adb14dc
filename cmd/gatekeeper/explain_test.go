package main

import (
	"bytes"
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/internal/explain"
)

// record is what the engine journaled for a timeline of the specification.
func recordOf(name string) string {
	return filepath.Join("..", "..", "internal", "explain", "testdata", name+".json")
}

func TestExplain_Facts(t *testing.T) {
	dir := t.TempDir()
	svg, picture := filepath.Join(dir, "r.svg"), filepath.Join(dir, "r.png")
	told := both(t, 0, "explain", "--facts", recordOf("T02_Bad"), "--svg", svg, "--png", picture)
	require.Contains(t, told, "Rolled back at 5:00, because R was bad (> 0.01) from 3:00 to 5:00, all of its 2m")
	require.Contains(t, told, "▲ deployed 0:00")
	require.Contains(t, told, "not replayed: facts come without the health file")
	text, err := os.ReadFile(svg)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(text), "<svg "))
	data, err := os.ReadFile(picture)
	require.NoError(t, err)
	_, err = png.Decode(bytes.NewReader(data))
	require.NoError(t, err)

	var e explain.Explanation
	require.NoError(t, json.Unmarshal([]byte(gk(t, 0, "explain", "--facts", recordOf("T03_Blip"), "-o", "json")), &e))
	require.Equal(t, "R", e.Rules[0].Name)
	require.Len(t, e.Rules[0].Streaks[0].Slots, 6)

	require.NotContains(t, gk(t, 0, "explain", "--facts", recordOf("T02_Bad"), "--no-chart"), "▲")
	t.Setenv("LC_ALL", "C")
	plain := gk(t, 0, "explain", "--facts", recordOf("T02_Bad"))
	require.Equal(t, -1, strings.IndexFunc(plain[strings.Index(plain, "Done"):], func(r rune) bool { return r > 0x2500 }), "%s", plain)
}

func TestExplain_FactsOfStandardInput(t *testing.T) {
	facts, err := os.ReadFile(recordOf("T02_Bad"))
	require.NoError(t, err)
	var list struct {
		Facts json.RawMessage `json:"facts"`
	}
	require.NoError(t, json.Unmarshal(facts, &list))
	for _, text := range []string{string(facts), string(list.Facts)} {
		got, err := decodeFacts([]byte(text))
		require.NoError(t, err)
		require.NotEmpty(t, got)
	}
	_, err = decodeFacts([]byte(`{"facts": [{"kind": "new"}]}`))
	require.ErrorContains(t, err, "written by a newer Gatekeeper?")
}

func TestExplain_Refused(t *testing.T) {
	require.Contains(t, both(t, 2, "explain"), "give the id of a release")
	require.Contains(t, both(t, 2, "explain", "x", "--facts", "a", "--snapshot", "b"), "exclude each other")
	require.Contains(t, both(t, 2, "explain", "--facts", filepath.Join(t.TempDir(), "none")), "can't be read")
	require.Contains(t, both(t, 1, "explain", "--facts", recordOf("T02_Bad"), "--rule", "X"), "tells of: R")
	require.Contains(t, both(t, 2, "explain", "--facts", recordOf("T02_Bad"), "--svg", filepath.Join(t.TempDir(), "no", "where")), "can't be written")
}

// The same release is explained from the running daemon, from its data directory once it is
// stopped, and from a snapshot; the last two replay it.
func TestExplain_Stores(t *testing.T) {
	dir := t.TempDir()
	health, snapshot := filepath.Join(dir, "health.yml"), filepath.Join(dir, "snapshot")
	require.NoError(t, os.WriteFile(health, []byte(withFlag), 0o600))
	stop, said := begin(t, dir, "")
	gk(t, 0, "flag", "set", "new-checkout", "--enabled")
	gk(t, 0, "release", "open", "--version", "2", "--previous-version", "1", "-f", health, "--id", "r1")
	gk(t, 0, "release", "rollback", "r1", "--actor", "alice", "--why", "it smells")
	gk(t, 0, "store", "snapshot", snapshot)
	const why = "because a person said so: rollback asked for by alice"
	online := both(t, 0, "explain", "r1")
	require.Contains(t, online, why)
	require.Contains(t, online, "replayed: the record leads to the same decision")
	require.Contains(t, both(t, 1, "explain", "r2"), "r2")
	require.Equal(t, 0, stop(), "%s", said)

	for _, from := range [][]string{{"--data-dir", filepath.Join(dir, "data")}, {"--snapshot", snapshot}} {
		told := gk(t, 0, append([]string{"explain", "r1"}, from...)...)
		require.Contains(t, told, why)
		require.Contains(t, told, "no guard was asked: a person decided")
		require.Contains(t, told, "replayed: the record leads to the same decision")
		require.Contains(t, both(t, 1, append([]string{"explain", "r2"}, from...)...), "there is no release r2 in the store")
	}
	stop, said = begin(t, dir, "") // it was only read
	require.Contains(t, gk(t, 0, "release", "list"), "r1")
	require.Equal(t, 0, stop(), "%s", said)
}
