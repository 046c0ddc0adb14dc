package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const unitFile = "systemd/gatekeeper.service"

// analyze runs systemd-analyze, which needs no running systemd.
func analyze(t *testing.T, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI=true: systemd-analyze is missing, and no test may be skipped")
		}
		t.Skip("systemd-analyze is not installed")
	}
	out, err := exec.Command(program, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// systemd understands every line of the unit.
func TestUnitIsUnderstood(t *testing.T) {
	unit, err := os.ReadFile(unitFile)
	require.NoError(t, err)
	const program = "/usr/local/bin/gatekeeper"
	require.Contains(t, string(unit), "ExecStart="+program+" serve --config /etc/gatekeeper/gatekeeper.yml\n")
	path := filepath.Join(t.TempDir(), "gatekeeper.service")
	there := strings.Replace(string(unit), program, "/bin/true", 1) // it looks whether the program is there
	require.NoError(t, os.WriteFile(path, []byte(there), 0o600))
	require.Empty(t, analyze(t, "verify", path))
}

// The exposure that docs/guides/install.md names: from 0, nothing, to 10, everything.
func TestUnitIsHardened(t *testing.T) {
	require.NotEmpty(t, analyze(t, "security", "--offline=true", "--no-pager", "--threshold=12", unitFile)) // tenths
}
