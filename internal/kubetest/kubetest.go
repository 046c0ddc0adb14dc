// Package kubetest runs a real Kubernetes control plane for tests: etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler, and kwok, whose nodes make pods ready without running
// them. .ci/kubernetes-tools builds the programs; nothing but tests may import this package.
package kubetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// Assets gives the folder with the programs, named by KUBEBUILDER_ASSETS as with envtest, if it has
// all that a cluster needs; else tests that need one must be skipped.
func Assets() (dir string, complete bool) {
	dir = os.Getenv("KUBEBUILDER_ASSETS")
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"} {
		if _, err := os.Stat(filepath.Join(dir, name)); dir == "" || err != nil {
			return "", false
		}
	}
	return dir, true
}

const (
	adminToken = "admin-of-the-test-cluster"
	startLimit = 90 * time.Second // for everything to be healthy; five seconds are usual
	often      = 50 * time.Millisecond
)

// Cluster is a running control plane with three nodes. Many tests may use it at once, each in its
// own namespace.
type Cluster struct {
	Address string // host:port of the API server
	CAFile  string // whom to trust for it
	Admin   dynamic.Interface

	AdminKubeconfig string // file for programs, with the same permissions

	dir       string
	processes []*process // in the order of their start
	reserved  []func() error
}

// Start runs a control plane with the programs in assets and waits until its nodes are ready.
func Start(assets string) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "kubetest")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	if err := c.start(ctx, assets); err != nil {
		said := c.said()
		c.Stop()
		return nil, fmt.Errorf("the control plane did not start: %w\n%s", err, said)
	}
	return c, nil
}

// Stop ends all processes and removes what they wrote.
func (c *Cluster) Stop() {
	for i := len(c.processes) - 1; i >= 0; i-- {
		c.processes[i].end()
	}
	for _, release := range c.reserved {
		_ = release() // a lock that is gone is a lock released
	}
	_ = os.RemoveAll(c.dir) // a temporary folder; nobody waits for it
}

// said gives the ends of the logs.
func (c *Cluster) said() string {
	var all strings.Builder
	for _, p := range c.processes {
		fmt.Fprintf(&all, "%s said: %s\n", p.name, p.tail())
	}
	return all.String()
}

func (c *Cluster) start(ctx context.Context, assets string) error {
	if err := c.control(ctx, assets); err != nil {
		return err
	}
	var err error
	if c.Admin, err = dynamic.NewForConfig(c.config(adminToken)); err != nil {
		return err
	}
	if err := c.until(ctx, "the API server is ready", func() error {
		_, err := c.Admin.Resource(Core("namespaces")).Get(ctx, "default", metav1.GetOptions{})
		return err
	}); err != nil {
		return err
	}
	if err := c.controllers(assets); err != nil {
		return err
	}
	for i := range 3 {
		if err := c.Apply(ctx, fmt.Sprintf(node, i)); err != nil {
			return err
		}
	}
	return c.until(ctx, "all nodes are ready", func() error {
		nodes, err := c.Admin.Resource(Core("nodes")).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, n := range nodes.Items {
			if taints, _, err := unstructured.NestedSlice(n.Object, "spec", "taints"); err != nil || len(taints) > 0 {
				return fmt.Errorf("node %s has taints %v", n.GetName(), taints)
			}
			if cpu, _, err := unstructured.NestedString(n.Object, "status", "allocatable", "cpu"); err != nil || cpu == "" {
				return fmt.Errorf("node %s is not ready", n.GetName())
			}
		}
		return nil
	})
}

// until tries until it works, the context ends or a process has ended.
func (c *Cluster) until(ctx context.Context, what string, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		for _, p := range c.processes {
			if p.ended() {
				return fmt.Errorf("%s has ended", p.name)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, errors.Join(ctx.Err(), err))
		case <-time.After(often):
		}
	}
}

func (c *Cluster) config(token string) *rest.Config {
	return &rest.Config{
		Host: "https://" + c.Address, BearerToken: token, QPS: -1,
		TLSClientConfig:           rest.TLSClientConfig{CAFile: c.CAFile},
		WarningHandlerWithContext: rest.NoWarnings{},
	}
}

// Client gives a client that shows a token.
func (c *Cluster) Client(token string) (dynamic.Interface, error) {
	return dynamic.NewForConfig(c.config(token))
}

// Kubeconfig writes a kubeconfig file that shows a token to the API server at an address, which
// may be that of a proxy on loopback.
func (c *Cluster) Kubeconfig(path, address, token string) error {
	return os.WriteFile(path, []byte(fmt.Sprintf(kubeconfig, address, c.CAFile, token)), 0o600)
}

// Apply creates the objects of a YAML text, or changes them to it.
func (c *Cluster) Apply(ctx context.Context, manifests string) error {
	for _, text := range strings.Split(manifests, "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		if len(o.Object) == 0 {
			continue
		}
		gvk := o.GroupVersionKind()
		gvr := schema.GroupVersionResource{Group: gvk.Group, Version: gvk.Version, Resource: strings.ToLower(gvk.Kind) + "s"}
		var to dynamic.ResourceInterface = c.Admin.Resource(gvr)
		if ns := o.GetNamespace(); ns != "" {
			to = c.Admin.Resource(gvr).Namespace(ns)
		}
		_, err := to.Create(ctx, o, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			_, err = to.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "kubetest", Force: true})
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", gvk.Kind, o.GetName(), err)
		}
	}
	return nil
}

// Token gives a token of a service account, as a pod gets one.
func (c *Cluster) Token(ctx context.Context, namespace, account string) (string, error) {
	answer, err := c.Admin.Resource(Core("serviceaccounts")).Namespace(namespace).Create(ctx,
		&unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
			"metadata": map[string]any{"name": account}, "spec": map[string]any{},
		}}, metav1.CreateOptions{}, "token")
	if err != nil {
		return "", err
	}
	token, ok, err := unstructured.NestedString(answer.Object, "status", "token")
	if err != nil || !ok {
		return "", errors.New("the answer holds no token")
	}
	return token, nil
}

// Core names a resource of the core group; Apps one of the group apps.
func Core(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: resource}
}

// Apps names a resource of the group apps.
func Apps(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: resource}
}

func (c *Cluster) path(name string) string { return filepath.Join(c.dir, name) }
