package main

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVersion(t *testing.T) {
	require.Equal(t, gk(t, 0, "version"), gk(t, 0, "--version"))
	require.Equal(t, "gatekeeper 1.2.3, commit abc of 2026-01-02T15:04:05Z, go1.26 linux/amd64",
		build{Version: "1.2.3", Commit: "abc", Date: "2026-01-02T15:04:05Z", Go: "go1.26", Platform: "linux/amd64"}.String())
	require.Equal(t, "gatekeeper (devel), commit abc with changes, go1.26 linux/amd64",
		build{Version: "(devel)", Commit: "abc", Modified: true, Go: "go1.26", Platform: "linux/amd64"}.String())
}

// The linker's values, as the Dockerfile sets them.
func TestVersionOfAnImage(t *testing.T) {
	program := filepath.Join(t.TempDir(), "gatekeeper")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-X main.release=1.2.3 -X main.commit=abc -X main.date=2026-01-02T15:04:05Z", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command(program, "version", "-o", "json").Output()
	require.NoError(t, err)
	var b build
	require.NoError(t, json.Unmarshal(out, &b))
	require.Equal(t, "1.2.3 abc 2026-01-02T15:04:05Z", b.Version+" "+b.Commit+" "+b.Date)
	require.NotEmpty(t, b.Go)
	out, err = exec.Command(program, "--version").Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "gatekeeper 1.2.3, commit abc of 2026-01-02T15:04:05Z, go1.")
}
