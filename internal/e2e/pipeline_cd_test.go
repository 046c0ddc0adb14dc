package e2e

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

// hook is what the test runs of a hook of Argo CD.
type hook struct {
	Metadata struct{ Annotations map[string]string }
	Spec     struct {
		Template struct {
			Spec struct {
				Containers []struct {
					Image         string
					Command, Args []string
					Env           []struct {
						Name, Value string
						ValueFrom   struct {
							SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
						} `yaml:"valueFrom"`
					}
				}
			}
		}
	}
}

// argo runs a sync as Argo CD does: PreSync, then the deployment, then PostSync; SyncFail when one
// of them failed. The first that failed gives the exit code.
func (w *works) argo(t *testing.T, hooks map[string]hook, vars map[string]string) (code int, said string) {
	t.Helper()
	run := func(phase string) int {
		c, out := 0, ""
		if phase == "Sync" {
			c, out = w.shell(t, nil, "./deploy")
		} else {
			c, out = w.runHook(t, hooks[phase], vars)
		}
		said += "== " + phase + "\n" + out
		return c
	}
	for _, phase := range []string{"PreSync", "Sync", "PostSync"} {
		if code = run(phase); code != 0 {
			run("SyncFail")
			return code, said
		}
	}
	return 0, said
}

// runHook runs the one container of a hook's pod as a process, with the variables that the kubelet
// gives it and puts for $(NAME) into its arguments.
func (w *works) runHook(t *testing.T, h hook, vars map[string]string) (code int, said string) {
	t.Helper()
	require.Len(t, h.Spec.Template.Spec.Containers, 1)
	c := h.Spec.Template.Spec.Containers[0]
	env := map[string]string{}
	for _, e := range c.Env {
		switch ref := e.ValueFrom.SecretKeyRef; {
		case e.Name == "IF_UNREACHABLE" || ref.Key == "url" || ref.Key == "token":
			env[e.Name] = vars[e.Name]
		case e.Name == "VERSION":
			env[e.Name] = "v2"
		default:
			env[e.Name] = e.Value
		}
	}
	args := append(c.Command, c.Args...)
	for i, arg := range args {
		for name, value := range env {
			arg = strings.ReplaceAll(arg, "$("+name+")", value)
		}
		args[i] = arg
	}
	if strings.HasPrefix(c.Image, "registry.example.com/gatekeeper:") {
		args = append([]string{"gatekeeper"}, args...) // the image's entry point
	}
	return w.shell(t, env, args[0], args[1:]...)
}

func TestPipelineArgoCD(t *testing.T) {
	t.Parallel()
	servertest.Need(t, "curl")
	hooks := map[string]hook{}
	text := strings.ReplaceAll(pipeline(t, "argocd/hooks.yaml"), "--retry 6", "--retry 1")
	for doc := yaml.NewDecoder(strings.NewReader(text)); ; {
		var h hook
		err := doc.Decode(&h)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		hooks[h.Metadata.Annotations["argocd.argoproj.io/hook"]] = h
	}
	w := startWorks(t)
	for name, one := range errands {
		if one.unclear == "pass" {
			continue // a job can't pass by its exit code: see the guide
		}
		t.Run(name, func(t *testing.T) {
			vars := w.prepare(t, &one)
			code, said := w.argo(t, hooks, vars)
			require.Equal(t, one.code, code, "%s", said)
			if one.away && one.absent == "continue" {
				return
			}
			w.check(t, one, said)
		})
	}
}

// ended waits for the newest release's end.
func (w *works) ended(t *testing.T) gatekeeper.Release {
	t.Helper()
	eventually(t, func() bool { return w.last(t).Closed() }, "it ends")
	return w.last(t)
}
