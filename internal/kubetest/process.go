package kubetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

const tailSize = 4 << 10 // bytes of a log that are shown

// process is a program of the control plane.
type process struct {
	name string
	log  string // file
	cmd  *exec.Cmd
	over chan struct{} // closed when it has ended
}

// run starts a program that ends with the cluster.
func (c *Cluster) run(assets, name string, args ...string) error {
	p := &process{name: name, log: c.path(name + ".log"), over: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(filepath.Join(assets, name), args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	tie(p.cmd)
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = p.cmd.Wait() // that it ended is all that matters
		close(p.over)
	}()
	c.processes = append(c.processes, p)
	return nil
}

func (p *process) ended() bool {
	select {
	case <-p.over:
		return true
	default:
		return false
	}
}

// end asks the process to end, and kills it if it doesn't.
func (p *process) end() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error says that it is gone already
	select {
	case <-p.over:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.over
	}
}

func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-tailSize):])
}

// control starts etcd and the API server.
func (c *Cluster) control(ctx context.Context, assets string) error {
	addresses, err := c.reserve(3)
	if err != nil {
		return err
	}
	etcd, peer := "http://"+addresses[0], "http://"+addresses[1]
	if err := c.run(assets, "etcd", "--data-dir", c.path("etcd"), "--unsafe-no-fsync", "--log-level", "warn",
		"--listen-client-urls", etcd, "--advertise-client-urls", etcd,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer); err != nil {
		return err
	}
	tokens := fmt.Sprintf("%s,admin,admin,\"system:masters\"\n", adminToken)
	if err := os.WriteFile(c.path("tokens"), []byte(tokens), 0o600); err != nil {
		return err
	}
	if err := writeKey(c.path("accounts.key")); err != nil {
		return err
	}
	c.Address = addresses[2]
	_, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return err
	}
	c.CAFile = c.path("certificates/apiserver.crt")
	if err := c.run(assets, "kube-apiserver", "--etcd-servers", etcd, "--bind-address=127.0.0.1", "--secure-port", port,
		"--cert-dir", c.path("certificates"), "--token-auth-file", c.path("tokens"), "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file", c.path("accounts.key"),
		"--service-account-signing-key-file", c.path("accounts.key"), "--disable-admission-plugins=ServiceAccount",
		"--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.0.0.0/24"); err != nil {
		return err
	}
	return c.until(ctx, "the API server has a certificate", func() error {
		_, err := os.Stat(c.CAFile)
		return err
	})
}

// controllers starts what makes objects live.
func (c *Cluster) controllers(assets string) error {
	config := c.path("admin.kubeconfig")
	if err := c.Kubeconfig(config, c.Address, adminToken); err != nil {
		return err
	}
	c.AdminKubeconfig = config
	if err := os.WriteFile(c.path("stages.yaml"), []byte(stages), 0o600); err != nil {
		return err
	}
	if err := c.run(assets, "kube-controller-manager", "--kubeconfig", config, "--leader-elect=false", "--secure-port=0",
		"--kube-api-qps=500", "--kube-api-burst=1000"); err != nil {
		return err
	}
	if err := c.run(assets, "kube-scheduler", "--kubeconfig", config, "--leader-elect=false", "--secure-port=0"); err != nil {
		return err
	}
	return c.run(assets, "kwok", "--kubeconfig", config, "--config", c.path("stages.yaml"),
		"--manage-all-nodes=true", "--node-lease-duration-seconds=40")
}

// writeKey makes the key that service accounts' tokens are signed with.
func writeKey(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	text, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: text}), 0o600)
}

// reserve gives addresses on loopback that are the cluster's until it stops.
func (c *Cluster) reserve(n int) ([]string, error) {
	var addresses []string
	for range n {
		address, release, err := servertest.Reserve()
		if err != nil {
			return nil, err
		}
		c.reserved = append(c.reserved, release)
		addresses = append(addresses, address)
	}
	return addresses, nil
}
