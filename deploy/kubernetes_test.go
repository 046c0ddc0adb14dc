package deploy

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gatekeeper-engine/gatekeeper/internal/config"
	"github.com/gatekeeper-engine/gatekeeper/internal/kubetest"
)

// manifests gives the objects of all files, in the order in which kubectl apply -f takes them.
func manifests(t *testing.T) []map[string]any {
	t.Helper()
	files, err := filepath.Glob("kubernetes/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, 3)
	var all []map[string]any
	for _, file := range files {
		all = append(all, objects(t, file)...)
	}
	return all
}

// objects gives the objects of one file.
func objects(t *testing.T, file string) (all []map[string]any) {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	for dec := yaml.NewDecoder(bytes.NewReader(content)); ; {
		var o map[string]any
		err := dec.Decode(&o)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err, file)
		require.NotEmpty(t, at(t, o, "metadata", "name"), file)
		all = append(all, o)
	}
}

// at follows keys and indexes.
func at(t *testing.T, v any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, ok := v.(map[string]any)
			require.True(t, ok, "%v of %v", step, v)
			require.Contains(t, m, step)
			v = m[step]
		case int:
			l, ok := v.([]any)
			require.True(t, ok, "%v of %v", step, v)
			require.Greater(t, len(l), step)
			v = l[step]
		}
	}
	return v
}

func named(t *testing.T, kind, name string) map[string]any {
	t.Helper()
	for _, o := range manifests(t) {
		if o["kind"] == kind && at(t, o, "metadata", "name") == name {
			return o
		}
	}
	require.Fail(t, "there is no "+kind+" "+name)
	return nil
}

// What an API server can't tell: that the parts fit each other and what the daemon serves.
func TestManifestsFitTogether(t *testing.T) {
	set := named(t, "StatefulSet", "gatekeeper")
	require.Equal(t, 1, at(t, set, "spec", "replicas"), "one daemon at a time has the journal")
	labels := at(t, set, "spec", "template", "metadata", "labels")
	require.Equal(t, labels, at(t, set, "spec", "selector", "matchLabels"))
	service := named(t, "Service", "gatekeeper")
	require.Equal(t, labels, at(t, service, "spec", "selector"))
	require.Equal(t, at(t, service, "metadata", "name"), at(t, set, "spec", "serviceName"))

	pod := at(t, set, "spec", "template", "spec")
	container := at(t, pod, "containers", 0)
	require.Equal(t, at(t, container, "ports", 0, "name"), at(t, service, "spec", "ports", 0, "targetPort"))
	require.Equal(t, at(t, container, "ports", 0, "containerPort"), at(t, service, "spec", "ports", 0, "port"))
	for probe, path := range map[string]string{"startupProbe": "/-/healthy", "livenessProbe": "/-/healthy", "readinessProbe": "/-/ready"} {
		require.Equal(t, path, at(t, container, probe, "httpGet", "path"))
	}
	require.Equal(t, true, at(t, container, "securityContext", "readOnlyRootFilesystem"))
	require.Equal(t, true, at(t, pod, "securityContext", "runAsNonRoot"))

	volumes := map[any]bool{at(t, set, "spec", "volumeClaimTemplates", 0, "metadata", "name"): true}
	for _, v := range at(t, pod, "volumes").([]any) {
		volumes[at(t, v, "name")] = true
	}
	mounts := map[any]any{}
	for _, m := range at(t, container, "volumeMounts").([]any) {
		require.True(t, volumes[at(t, m, "name")], "%v is no volume", m)
		mounts[at(t, m, "mountPath")] = at(t, m, "name")
	}

	text := at(t, named(t, "ConfigMap", "gatekeeper"), "data", "gatekeeper.yml").(string)
	cfg := config.Parse("gatekeeper.yml", "/etc/gatekeeper", text)
	require.NoError(t, cfg.Err())
	require.Equal(t, "data", mounts[cfg.DataDir])
	for _, token := range cfg.Tokens {
		require.Equal(t, "tokens", mounts[filepath.Dir(token.TokenFile)], token.Name)
	}
	require.Equal(t, "config", mounts[filepath.Dir(at(t, container, "args", 2).(string))])
}

// rbac.yaml can be applied after namespace.yaml, and must not undo it.
func TestNamespaceIsTheSameEverywhere(t *testing.T) {
	seen := 0
	for _, o := range manifests(t) {
		if o["kind"] == "Namespace" {
			seen++
			require.Equal(t, named(t, "Namespace", "gatekeeper"), o)
		}
	}
	require.Equal(t, 2, seen)
}

// A real API server knows every field, and its admission lets the pod in under the restricted
// pod security standard.
func TestManifestsOnACluster(t *testing.T) {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		t.Skip("make test-kubernetes runs this")
	}
	cluster, err := kubetest.Start(assets)
	require.NoError(t, err)
	t.Cleanup(cluster.Stop)
	require.NoError(t, cluster.Apply(t.Context(), "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"))
	for _, o := range manifests(t) {
		create(t, cluster, &unstructured.Unstructured{Object: o})
	}
	for _, o := range objects(t, "../examples/pipelines/argocd/hooks.yaml") {
		hook := &unstructured.Unstructured{Object: o}
		hook.SetNamespace("gatekeeper") // as strict as any
		create(t, cluster, hook)
	}
	set := &unstructured.Unstructured{Object: named(t, "StatefulSet", "gatekeeper")}
	pod, ok, err := unstructured.NestedMap(normal(t, set), "spec", "template")
	require.NoError(t, err)
	require.True(t, ok)
	pod["apiVersion"], pod["kind"] = "v1", "Pod"
	metadata := pod["metadata"].(map[string]any)
	metadata["name"], metadata["namespace"] = "gatekeeper-0", "gatekeeper"
	spec := pod["spec"].(map[string]any)
	spec["volumes"] = append(spec["volumes"].([]any), map[string]any{"name": "data", "emptyDir": map[string]any{}})
	create(t, cluster, &unstructured.Unstructured{Object: pod})
}

// normal gives an object with the types that JSON has.
func normal(t *testing.T, o *unstructured.Unstructured) map[string]any {
	t.Helper()
	text, err := yaml.Marshal(o.Object)
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, yaml.Unmarshal(text, &out))
	return whole(out).(map[string]any)
}

// whole makes int64 of int, as unstructured objects want it.
func whole(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case map[string]any:
		for k := range v {
			v[k] = whole(v[k])
		}
	case []any:
		for i := range v {
			v[i] = whole(v[i])
		}
	}
	return v
}

// create makes an object; a field that the API server does not know is an error.
func create(t *testing.T, c *kubetest.Cluster, o *unstructured.Unstructured) {
	t.Helper()
	o.Object = normal(t, o)
	gvk := o.GroupVersionKind()
	resource := c.Admin.Resource(schema.GroupVersionResource{Group: gvk.Group, Version: gvk.Version, Resource: strings.ToLower(gvk.Kind) + "s"})
	strict := metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}
	var err error
	if ns := o.GetNamespace(); ns != "" {
		_, err = resource.Namespace(ns).Create(t.Context(), o, strict)
	} else {
		_, err = resource.Create(t.Context(), o, strict)
	}
	if !apierrors.IsAlreadyExists(err) {
		require.NoError(t, err, "%s %s", gvk.Kind, o.GetName())
	}
}
