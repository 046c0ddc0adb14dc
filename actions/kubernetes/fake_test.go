package kubernetes

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/labels"
)

const fakeToken = "s3cret-token"

// fake is an API server of our own with what the action needs of Kubernetes' contract:
// resourceVersion checks, dry runs, access reviews, statuses of errors; and a controller that keeps
// history and finishes rollouts at once. The tests of cluster_test.go run on the real one.
type fake struct {
	t      *testing.T
	server *httptest.Server
	config string // kubeconfig file

	mu       sync.Mutex
	objects  map[string]map[string]any // by path
	versions int
	denied   map[string]bool // "patch deployments"
	answer   func(r *http.Request) (code int, reason string)
	meddle   func() // runs before each change
	rolling  bool   // the controller leaves rollouts unfinished
	changes  int
	hung     chan struct{} // not nil: requests wait for it
}

// content is an object as JSON has it.
type content = map[string]any

func startFake(t *testing.T) *fake {
	f := &fake{t: t, objects: map[string]map[string]any{}, denied: map[string]bool{}}
	f.server = httptest.NewTLSServer(f)
	t.Cleanup(f.server.Close)
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.server.Certificate().Raw})
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600))
	f.config = filepath.Join(dir, "kubeconfig")
	require.NoError(t, os.WriteFile(f.config, []byte(fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c",
"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}},{"name":"other","context":{"cluster":"c","user":"nobody"}}],
"clusters":[{"name":"c","cluster":{"server":%q,"certificate-authority":"ca.pem"}}],
"users":[{"name":"u","user":{"token":%q}},{"name":"nobody","user":{"token":"wrong"}}]}`, f.server.URL, fakeToken)), 0o600))
	return f
}

func (f *fake) stop() {
	f.server.CloseClientConnections()
	f.server.Close()
}

func (f *fake) hang() {
	f.mu.Lock()
	f.hung = make(chan struct{})
	f.mu.Unlock()
	f.t.Cleanup(func() { close(f.hung) })
}

func path(k kind, name string) string {
	return "/apis/apps/v1/namespaces/shop/" + k.resource.Resource + "/" + name
}

func podTemplate(image string) content {
	return content{
		"metadata": content{"labels": content{"app": "checkout"}},
		"spec":     content{"containers": []any{content{"name": "app", "image": image, "env": []any{content{"name": "PASSWORD", "value": "hunter2"}}}}},
	}
}

// deploy puts the image into the object and lets the controller work, as a deployment does.
func (f *fake) deploy(k kind, image string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, ok := f.objects[path(k, "checkout")]
	if !ok {
		o = content{
			"apiVersion": "apps/v1", "kind": k.name,
			"metadata": content{"name": "checkout", "namespace": "shop", "uid": "uid-of-checkout", "generation": int64(0)},
			"spec":     content{"replicas": int64(5), "selector": content{"matchLabels": content{"app": "checkout"}}},
		}
		if k.name != "deployment" {
			o["spec"].(content)["updateStrategy"] = content{"type": "RollingUpdate"}
		}
		f.objects[path(k, "checkout")] = o
	}
	o["spec"].(content)["template"] = podTemplate(image)
	f.control(k, o)
}

// edit changes the object past its controller.
func (f *fake) edit(k kind, change func(o content)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.objects[path(k, "checkout")]
	change(o)
	f.bump(o)
}

func (f *fake) bump(o content) {
	f.versions++
	o["metadata"].(content)["resourceVersion"] = fmt.Sprint(f.versions)
}

// control is the controller: a revision for the template, the newest, and the status of a
// finished rollout.
func (f *fake) control(k kind, o content) {
	meta := o["metadata"].(content)
	generation := meta["generation"].(int64) + 1
	meta["generation"] = generation
	f.bump(o)
	live, err := templateOf(clone(o["spec"].(content)["template"].(content)))
	require.NoError(f.t, err)
	newest, name := int64(0), ""
	for p, kept := range f.objects {
		if !strings.Contains(p, "/"+k.history.Resource+"/") {
			continue
		}
		r, err := revisionOf(unstructuredOf(clone(kept)))
		require.NoError(f.t, err)
		newest = max(newest, r.number)
		if r.template.equal(live) {
			name = p
		}
	}
	if name == "" {
		name = "/apis/apps/v1/namespaces/shop/" + k.history.Resource + fmt.Sprintf("/checkout-%d", newest+1)
	}
	f.objects[name] = revisionObject(k, name[strings.LastIndexByte(name, '/')+1:], newest+1, o)
	status := content{"observedGeneration": generation}
	if !f.rolling {
		for _, field := range []string{"replicas", "readyReplicas", "updatedReplicas", "availableReplicas", "desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable"} {
			status[field] = int64(5)
		}
	} else {
		status = content{"observedGeneration": generation, "replicas": int64(5), "readyReplicas": int64(3), "updatedReplicas": int64(5), "availableReplicas": int64(3), "desiredNumberScheduled": int64(5), "updatedNumberScheduled": int64(5), "numberAvailable": int64(3)}
	}
	o["status"] = status
}

func revisionObject(k kind, name string, number int64, owner content) content {
	t := clone(owner["spec"].(content)["template"].(content))
	meta := content{
		"name": name, "namespace": "shop", "uid": "uid-of-" + name, "labels": content{"app": "checkout"},
		"ownerReferences": []any{content{"apiVersion": "apps/v1", "kind": k.name, "name": "checkout", "uid": "uid-of-checkout", "controller": true}},
	}
	annotations := content{}
	if notes, ok := owner["metadata"].(content)["annotations"].(content); ok && notes[causeAnnotation] != nil {
		annotations[causeAnnotation] = notes[causeAnnotation]
	}
	meta["annotations"] = annotations
	if k.history.Resource == "replicasets" {
		annotations[revisionAnnotation] = fmt.Sprint(number)
		t["metadata"].(content)["labels"].(content)[hashLabel] = name
		return content{"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta, "spec": content{"template": t}}
	}
	t["$patch"] = "replace"
	t["metadata"].(content)["creationTimestamp"] = nil
	return content{"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": meta, "revision": number, "data": content{"spec": content{"template": t}}}
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	hung := f.hung
	f.mu.Unlock()
	if hung != nil {
		select {
		case <-hung:
		case <-r.Context().Done():
		}
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+fakeToken {
		fail(w, http.StatusUnauthorized, "Unauthorized")
		return
	}
	if f.answer != nil {
		if code, reason := f.answer(r); code != 0 {
			fail(w, code, reason)
			return
		}
	}
	switch parts := strings.Split(r.URL.Path, "/"); {
	case strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews"):
		var asked struct {
			Spec struct {
				ResourceAttributes struct{ Verb, Resource, Namespace, Group string }
			}
		}
		require.NoError(f.t, json.NewDecoder(r.Body).Decode(&asked))
		a := asked.Spec.ResourceAttributes
		allowed := !f.denied[a.Verb+" "+a.Resource] && a.Namespace == "shop" && a.Group == "apps"
		reply(w, content{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "status": content{"allowed": allowed}})
	case len(parts) == 7:
		f.list(w, r)
	default:
		f.one(w, r, parts[6])
	}
}

func (f *fake) list(w http.ResponseWriter, r *http.Request) {
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	require.NoError(f.t, err)
	items := []any{}
	for p, o := range f.objects {
		marks := labels.Set{}
		if all, ok := o["metadata"].(content)["labels"].(content); ok {
			for key, value := range all {
				marks[key] = value.(string)
			}
		}
		if strings.HasPrefix(p, r.URL.Path+"/") && selector.Matches(marks) {
			items = append(items, o)
		}
	}
	reply(w, content{"apiVersion": "apps/v1", "kind": "List", "metadata": content{}, "items": items})
}

func (f *fake) one(w http.ResponseWriter, r *http.Request, resource string) {
	verb := strings.ToLower(r.Method)
	if f.denied[verb+" "+resource] {
		fail(w, http.StatusForbidden, "Forbidden")
		return
	}
	if verb == "patch" && f.meddle != nil {
		f.meddle()
	}
	o, ok := f.objects[r.URL.Path]
	if !ok {
		fail(w, http.StatusNotFound, "NotFound")
		return
	}
	if verb == "get" {
		reply(w, o)
		return
	}
	var operations []struct {
		Op, Path string
		Value    any
	}
	require.NoError(f.t, json.NewDecoder(r.Body).Decode(&operations))
	changed := clone(o)
	for _, op := range operations {
		keys := strings.Split(op.Path, "/")[1:]
		in := changed
		for _, key := range keys[:len(keys)-1] {
			in = in[key].(content)
		}
		in[strings.ReplaceAll(keys[len(keys)-1], "~1", "/")] = op.Value
	}
	if changed["metadata"].(content)["resourceVersion"] != o["metadata"].(content)["resourceVersion"] {
		fail(w, http.StatusConflict, "Conflict")
		return
	}
	if r.URL.Query().Get("dryRun") == "All" {
		reply(w, changed)
		return
	}
	f.changes++
	f.objects[r.URL.Path] = changed
	changed["metadata"].(content)["generation"] = o["metadata"].(content)["generation"]
	for _, k := range []kind{deployment, statefulSet, daemonSet} {
		if k.resource.Resource == resource {
			f.control(k, changed)
		}
	}
	reply(w, changed)
}

func reply(w http.ResponseWriter, o content) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(o)
}

func fail(w http.ResponseWriter, code int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(content{"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "the server says " + reason})
}
