package e2e

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

// workflow is what the test runs of a workflow of GitHub Actions.
type workflow struct {
	Env      map[string]string
	Defaults struct{ Run struct{ Shell string } }
	Jobs     map[string]struct{ Steps []workflowStep }
}

type workflowStep struct {
	Name, ID, If, Uses, Run string
	Env                     map[string]string
}

var expression = regexp.MustCompile(`\$\{\{ *(.*?) *\}\}`)

// runner runs the steps of a job as GitHub's runner does: each in a shell of its own by the
// defaults, with the files GITHUB_ENV, GITHUB_PATH and GITHUB_STEP_SUMMARY, and on after a failure only where a
// condition says so. Expressions and conditions that it does not know fail the test.
type runner struct {
	*works
	values map[string]string // of expressions
	failed string            // the id or name of the step that failed
}

func (r *runner) expand(t *testing.T, text string) string {
	t.Helper()
	return expression.ReplaceAllStringFunc(text, func(e string) string {
		value, known := r.values[expression.FindStringSubmatch(e)[1]]
		require.True(t, known, "%s", e)
		return value
	})
}

func (r *runner) due(t *testing.T, condition string) bool {
	t.Helper()
	switch condition {
	case "":
		return r.failed == ""
	case "inputs.extend != ''":
		return r.failed == "" && r.values["inputs.extend"] != ""
	case "failure() && steps.deploy.outcome == 'failure'":
		return r.failed == "deploy"
	case "cancelled()":
		return false
	}
	t.Fatalf("the condition %q is not known", condition)
	return false
}

func (r *runner) job(t *testing.T, w workflow, steps []workflowStep) (code int, said string) {
	t.Helper()
	require.Equal(t, "bash", w.Defaults.Run.Shell)
	dir := t.TempDir()
	for _, step := range steps {
		if step.Uses != "" || !r.due(t, step.If) {
			continue
		}
		script := filepath.Join(dir, "step.sh")
		write(t, script, r.expand(t, step.Run))
		env := map[string]string{"RUNNER_TEMP": dir, "GITHUB_PATH": filepath.Join(dir, "path"), "GITHUB_STEP_SUMMARY": filepath.Join(dir, "summary"), "GITHUB_ENV": filepath.Join(dir, "env")}
		maps.Copy(env, dotenv(t, filepath.Join(dir, "env")))
		for _, more := range []map[string]string{w.Env, step.Env} {
			for k, v := range more {
				env[k] = r.expand(t, v)
			}
		}
		c, text := r.shell(t, env, "bash", "--noprofile", "--norc", "-eo", "pipefail", script)
		said += "== " + step.Name + "\n" + text
		if c != 0 && r.failed == "" {
			r.failed, code = step.Name, c
			if step.ID != "" {
				r.failed = step.ID
			}
		}
		if added, err := os.ReadFile(filepath.Join(dir, "path")); err == nil {
			r.path = strings.TrimSpace(string(added)) + ":" + os.Getenv("PATH")
		}
	}
	if summary, err := os.ReadFile(filepath.Join(dir, "summary")); err == nil {
		said += "== summary\n" + string(summary)
	}
	return code, said
}

func TestPipelineGitHubActions(t *testing.T) {
	t.Parallel()
	var flow workflow
	require.NoError(t, yaml.Unmarshal([]byte(pipeline(t, "github-actions.yml")), &flow))
	w := startWorks(t)
	bin := t.TempDir()
	write(t, filepath.Join(bin, "docker"), "#!/bin/sh\n[ \"$1\" != cp ] || cp '"+program+"' \"$3\"\necho image\n")
	for name, one := range errands {
		t.Run(name, func(t *testing.T) {
			vars := w.prepare(t, &one)
			flow := flow
			flow.Env = maps.Clone(flow.Env)
			flow.Env["IF_UNREACHABLE"], flow.Env["IF_INCONCLUSIVE"] = one.absent, one.unclear
			w.path = bin + ":" + os.Getenv("PATH")
			r := &runner{works: w, values: map[string]string{
				"vars.GATEKEEPER_URL": vars["GATEKEEPER_URL"], "secrets.GATEKEEPER_TOKEN": pipelineToken, "github.actor": "ann",
				"github.run_id": idOf(name), "github.run_attempt": "1", "inputs.version": "v2", "inputs.extend": "1s",
			}}
			code, said := r.job(t, flow, flow.Jobs["release"].Steps)
			require.Equal(t, one.code, code, "%s", said)
			w.check(t, one, said)
			switch {
			case one.code == 3:
				require.Regexp(t, `(?m)^::error title=Gatekeeper::.*ROLLED BACK`, said)
				require.Contains(t, said, "== summary\n```\n")
			case one.unclear == "pass":
				require.Regexp(t, `(?m)^::warning title=Gatekeeper::.*INCONCLUSIVE`, said)
			}
			if !one.away {
				require.Equal(t, "ci (ann)", w.last(t).OpenedBy)
			}
		})
	}
}

// gitlabJob is what the test runs of a job of GitLab CI.
type gitlabJob struct {
	Stage        string
	Before       []string `yaml:"before_script"`
	Script       []string
	After        []string `yaml:"after_script"`
	AllowFailure struct {
		ExitCodes int `yaml:"exit_codes"`
	} `yaml:"allow_failure"`
	Artifacts struct{ Reports struct{ Dotenv string } }
}

// gitlab runs the jobs stage by stage as GitLab's runner does: before_script and script in one
// shell, after_script in another, dotenv reports as variables of the later jobs.
func (w *works) gitlab(t *testing.T, text string, vars map[string]string) (code int, said string) {
	t.Helper()
	var file struct {
		Stages    []string
		Variables map[string]string
		Default   gitlabJob
		Jobs      map[string]gitlabJob `yaml:"-"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(text), &file))
	jobs := map[string]yaml.Node{}
	require.NoError(t, yaml.Unmarshal([]byte(text), &jobs))
	env := maps.Clone(file.Variables)
	for k, v := range env {
		env[k] = os.Expand(v, func(name string) string { return vars[name] })
	}
	maps.Copy(env, vars)
	for _, stage := range file.Stages {
		node := jobs[stage] // every stage has one job of its name
		var job gitlabJob
		require.NoError(t, node.Decode(&job))
		require.Equal(t, stage, job.Stage)
		lines := slices.Concat([]string{"set -eo pipefail"}, file.Default.Before, job.Script)
		c, out := w.shell(t, env, "bash", "-c", strings.Join(lines, "\n"))
		said += "== " + stage + "\n" + out
		status := "success"
		if c != 0 {
			status = "failed"
		}
		after := maps.Clone(env)
		after["CI_JOB_STATUS"] = status
		_, out = w.shell(t, after, "bash", "-c", strings.Join(job.After, "\n")) // its exit code does not count
		said += out
		if c != 0 && c != job.AllowFailure.ExitCodes {
			return c, said
		}
		if report := job.Artifacts.Reports.Dotenv; report != "" {
			maps.Copy(env, dotenv(t, filepath.Join(w.workspace, report)))
			require.Contains(t, env, "RELEASE")
			require.NoError(t, os.Remove(filepath.Join(w.workspace, report)))
		}
	}
	return 0, said
}

// dotenv reads variables that a job left in a file.
func dotenv(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	vars := map[string]string{}
	for line := range strings.Lines(string(text)) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		require.True(t, ok, line)
		vars[k] = v
	}
	return vars
}

func TestPipelineGitLab(t *testing.T) {
	t.Parallel()
	w := startWorks(t)
	for name, one := range errands {
		t.Run(name, func(t *testing.T) {
			vars := w.prepare(t, &one)
			text := pipeline(t, "gitlab-ci.yml")
			if one.unclear == "pass" {
				text = strings.Replace(text, "# allow_failure:", "allow_failure:", 1)
			}
			maps.Copy(vars, map[string]string{
				"CI_COMMIT_TAG": "v2", "CI_PIPELINE_ID": idOf(name), "GITLAB_USER_LOGIN": "ann", "EXTEND": "1s",
			})
			code, said := w.gitlab(t, text, vars)
			require.Equal(t, one.code, code, "%s", said)
			w.check(t, one, said)
			if !one.away {
				require.Equal(t, "ci (ann)", w.last(t).OpenedBy)
			}
		})
	}
}

// The Jenkinsfile runs as a build in the Groovy of Jenkins; what Jenkins adds to the language is in
// testdata/jenkins.groovy.
func TestPipelineJenkins(t *testing.T) {
	t.Parallel()
	groovy := servertest.Need(t, "groovy")
	interpreter, err := filepath.Abs(filepath.Join("testdata", "jenkins.groovy"))
	require.NoError(t, err)
	w := startWorks(t)
	build := func(t *testing.T, name string, one *errand) {
		env := w.prepare(t, one)
		file := filepath.Join(t.TempDir(), "Jenkinsfile")
		write(t, file, strings.Replace(pipeline(t, "Jenkinsfile"), "https://gatekeeper.example.com", env["GATEKEEPER_URL"], 1))
		code, said := w.shell(t, map[string]string{
			"BUILD_TAG": "jenkins-shop/" + name + "%2Fmain-7", "GATEKEEPER_TOKEN": env["GATEKEEPER_TOKEN"], "JAVA_HOME": javaHome(t),
		}, groovy, interpreter, file, "VERSION=v2", "EXTEND=1s", "IF_UNREACHABLE="+env["IF_UNREACHABLE"], "IF_INCONCLUSIVE="+env["IF_INCONCLUSIVE"])
		switch {
		case one.unclear == "unstable":
			require.Equal(t, 2, code, "%s", said)
		case one.code == 0:
			require.Zero(t, code, "%s", said)
		default:
			require.Equal(t, 1, code, "%s", said)
			require.Contains(t, said, map[int]string{
				3: ": rolled back", 5: ": inconclusive", 7: "exit code 7", 9: "exit code 9",
			}[one.code])
		}
		w.check(t, *one, said)
		if !one.away {
			require.Equal(t, "ci (jenkins)", w.last(t).OpenedBy)
		}
	}
	for name, one := range errands {
		t.Run(name, func(t *testing.T) { build(t, name, &one) })
	}
	t.Run("inconclusive, unstable", func(t *testing.T) {
		build(t, "unstable", &errand{backend: "nothing", unclear: "unstable", outcome: gatekeeper.OutcomeInconclusive})
	})
}

// javaHome is where the installed Java is; Debian's groovy looks for Debian's default only.
func javaHome(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("java") // groovy's package depends on it
	require.NoError(t, err)
	java, err := filepath.EvalSymlinks(path)
	require.NoError(t, err)
	return filepath.Dir(filepath.Dir(java))
}
