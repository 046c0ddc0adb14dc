package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPipelines runs the scripts of examples/pipelines, as they are, through a good, a bad and a
// failed deployment.
func TestPipelines(t *testing.T) {
	t.Parallel()
	needs(t, "curl", "curl")
	f := startFaulty(t, "")
	f.daemon.end(syscall.SIGTERM)
	config := filepath.Join(f.dir, "gatekeeper.yml")
	text, err := os.ReadFile(config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(config, append(text, "health_files: .\n"...), 0o600))
	f.serve()

	for _, script := range []string{"cli.sh", "curl.sh"} {
		t.Run(script, func(t *testing.T) {
			for deploy, code := range map[string]int{"true": 0, "bad": 3, "false": 1} {
				service := strings.TrimSuffix(script, ".sh") + "-" + deploy
				f.gives(0, "flag", "set", service, "--enabled")
				health := f.put("health.yml", "ROLLBACK", strings.ReplaceAll(flagPlan, "SERVICE", service), "SERVICE", service, "BACKEND", "well")
				if script == "curl.sh" {
					health = "health.yml"
				}
				if deploy == "bad" {
					f.goBad(service)
					deploy = "true"
				}
				cmd := exec.Command(filepath.Join("..", "..", "examples", "pipelines", script), service, "v2", health, deploy)
				cmd.Env = append(os.Environ(), append(f.env, "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"))...)
				tie(cmd)
				out, _ := cmd.CombinedOutput() // the exit code is what it says
				require.Equal(t, code, cmd.ProcessState.ExitCode(), "%s: %s", service, out)
				require.Equal(t, code != 3, f.on(service), "%s: %s", service, out)
			}
		})
	}
}
