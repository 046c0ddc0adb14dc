package kubernetes

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// A pod's service account is at a fixed path (rest.InClusterConfig), so the action runs in a
// process of its own, where a file system of its own is mounted there.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// noMounts is said by a process whose mounts would be everybody's.
const noMounts = "it can have no mounts of its own: "

// pod is a process that sees its service account and the API server as one in a pod does.
type pod struct {
	t                   *testing.T
	dir, address, token string
	ca                  string // PEM file
	with                string // the rung's settings
}

// does has the pod prepare, or return to what it prepared.
func (p pod) does(what string) {
	p.t.Helper()
	host, port, err := net.SplitHostPort(p.address)
	require.NoError(p.t, err)
	cmd := exec.CommandContext(p.t.Context(), os.Args[0], "-test.run=^TestInsideAPod$", "-test.v")
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "KUBEBUILDER_ASSETS=") }),
		"KUBERNETES_SERVICE_HOST="+host, "KUBERNETES_SERVICE_PORT="+port, "POD_DOES="+what, "POD_DIR="+p.dir, "POD_CA="+p.ca, "POD_WITH="+p.with)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
	}
	require.NoError(p.t, os.WriteFile(filepath.Join(p.dir, "token"), []byte(p.token), 0o600))
	out, err := cmd.CombinedOutput()
	refused := err != nil && (strings.Contains(err.Error(), "operation not permitted") || strings.Contains(string(out), noMounts))
	if refused && os.Getenv("CI") != "true" {
		p.t.Skipf("SKIPPED, not tested: this needs mounts of its own, which root on a root file system may have: %v\n%s", err, out)
	}
	require.NoError(p.t, err, "%s", out)
	require.Contains(p.t, string(out), "--- PASS: TestInsideAPod")
	require.NotContains(p.t, string(out), p.token)
}

// TestInsideAPod is what the process of a pod runs.
func TestInsideAPod(t *testing.T) {
	what, dir := os.Getenv("POD_DOES"), os.Getenv("POD_DIR")
	if what == "" {
		return // only TestInCluster and TestClusterInCluster start such a process
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(noMounts, err) // as where / is no mount: in a chroot
	}
	run, err := filepath.EvalSymlinks("/var/run")
	require.NoError(t, err)
	require.NoError(t, syscall.Mount("none", run, "tmpfs", 0, ""))
	require.NoError(t, os.MkdirAll(serviceAccount, 0o700))
	for name, from := range map[string]string{"token": filepath.Join(dir, "token"), "ca.crt": os.Getenv("POD_CA")} {
		text, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(serviceAccount, name), text, 0o600))
	}
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	a, err := bind(empty, os.Getenv("POD_WITH"), "")
	require.NoError(t, err)
	_, err = a.Prepare(t.Context())
	require.ErrorContains(t, err, "names no cluster", "the pod's own is another one than the connection's")
	a, err = bind("", os.Getenv("POD_WITH"), "", "{}")
	require.NoError(t, err)
	pinned := filepath.Join(dir, "target")
	if what == "prepare" {
		target, err := a.Prepare(t.Context())
		require.NoError(t, err)
		text, err := json.Marshal(target)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(pinned, text, 0o600))
		return
	}
	text, err := os.ReadFile(pinned)
	require.NoError(t, err)
	var target gatekeeper.Target
	require.NoError(t, json.Unmarshal(text, &target))
	_, err = a.Apply(t.Context(), target, "key")
	require.NoError(t, err)
}

func TestInCluster(t *testing.T) {
	f := startFake(t)
	f.deploy(deployment, "checkout:1")
	u, err := url.Parse(f.server.URL)
	require.NoError(t, err)
	p := pod{
		t: t, dir: t.TempDir(), address: u.Host, token: fakeToken,
		ca: filepath.Join(filepath.Dir(f.config), "ca.pem"), with: `{"namespace":"shop","deployment":"checkout"}`,
	}
	p.does("prepare")
	f.deploy(deployment, "checkout:2")
	p.does("undo")
	f.mu.Lock()
	defer f.mu.Unlock()
	text, err := json.Marshal(f.objects[path(deployment, "checkout")]["spec"])
	require.NoError(t, err)
	require.Contains(t, string(text), "checkout:1")

	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	a, err := bind("", p.with, "", "{}")
	require.NoError(t, err)
	_, err = a.Prepare(t.Context())
	require.ErrorContains(t, err, "does not run in a cluster")
}

// The same on the real control plane, with the token of the published ServiceAccount and Role.
func TestClusterInCluster(t *testing.T) {
	s := startShop(t, deployment)
	p := pod{
		t: t, dir: t.TempDir(), address: control.Address, token: s.token, ca: control.CAFile,
		with: fmt.Sprintf(`{"namespace":%q,"deployment":"checkout"}`, s.namespace),
	}
	p.does("prepare")
	s.deploy("checkout:2")
	s.rolledOut("checkout:2")
	p.does("undo")
	s.rolledOut("checkout:1")
}
