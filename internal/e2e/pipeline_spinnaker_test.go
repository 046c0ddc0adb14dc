package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper"
)

// spinnakerStage is a custom webhook stage, by the fields of orca's PreconfiguredWebhook and of
// https://spinnaker.io/docs/guides/operator/custom-webhook-stages/.
type spinnakerStage struct {
	Type                string
	Method              string
	URL                 string              `yaml:"url"`
	CustomHeaders       map[string][]string `yaml:"customHeaders"`
	Payload             string
	WaitForCompletion   bool   `yaml:"waitForCompletion"`
	StatusURLResolution string `yaml:"statusUrlResolution"`
	StatusJSONPath      string `yaml:"statusJsonPath"`
	ProgressJSONPath    string `yaml:"progressJsonPath"`
	SuccessStatuses     string `yaml:"successStatuses"`
	CanceledStatuses    string `yaml:"canceledStatuses"`
	TerminalStatuses    string `yaml:"terminalStatuses"`
	Parameters          []struct{ Name string }
}

// spinnaker runs a pipeline as orca does, by CreateWebhookTask and MonitorWebhookTask of its
// sources: a stage sends its request, which is sent again after a 5xx and fails the stage after
// any other error; then it polls, and a JSON path that is not there, or that leads to more than one
// value, fails it. Backoff periods are shorter here.
type spinnaker struct {
	*works
	t      *testing.T
	stages map[string]spinnakerStage
	values map[string]string // of expressions, and of orca's environment
}

// openedID is the expression for what the first stage's answer holds; it fails where there is none.
const openedID = "#stage('Open the release')['context']['webhook']['body']['id']"

var spel = regexp.MustCompile(`\$\{(.*?)\}`)

// newSpinnaker reads the stages of orca's configuration.
func newSpinnaker(t *testing.T, w *works, config string, values map[string]string) *spinnaker {
	t.Helper()
	var orca struct {
		Webhook struct{ Preconfigured []spinnakerStage }
	}
	require.NoError(t, yaml.Unmarshal([]byte(config), &orca))
	s := &spinnaker{works: w, t: t, stages: map[string]spinnakerStage{}, values: values}
	for _, stage := range orca.Webhook.Preconfigured {
		s.stages[stage.Type] = stage
	}
	return s
}

func (s *spinnaker) expand(text string, more map[string]string) string {
	s.t.Helper()
	return spel.ReplaceAllStringFunc(text, func(e string) string {
		name := spel.FindStringSubmatch(e)[1]
		value, known := more[name]
		if !known {
			value, known = s.values[name]
		}
		require.True(s.t, known, "%s", e)
		return value
	})
}

// stage gives orca's ExecutionStatus and what was said last.
func (s *spinnaker) stage(kind string, parameters map[string]string) (status, said string) {
	s.t.Helper()
	stage, ok := s.stages[kind]
	require.True(s.t, ok, kind)
	values := map[string]string{}
	for name, value := range parameters {
		values["parameterValues['"+name+"']"] = s.expand(value, nil)
	}
	for _, p := range stage.Parameters {
		require.Contains(s.t, parameters, p.Name, "%s", kind)
	}
	url, payload := s.expand(stage.URL, values), s.expand(stage.Payload, values)
	code, body := s.send(stage, stage.Method, url, payload)
	if code/100 != 2 || !stage.WaitForCompletion {
		if code/100 == 2 {
			if kind == "gatekeeperOpen" {
				s.values[openedID] = s.read(body, "$.id")
			}
			return "SUCCEEDED", body
		}
		return "TERMINAL", body
	}
	require.Equal(s.t, "getMethod", stage.StatusURLResolution)
	for {
		code, body := s.send(stage, http.MethodGet, url, "")
		if code/100 != 2 {
			return "TERMINAL", body
		}
		value, progress := s.read(body, stage.StatusJSONPath), s.read(body, stage.ProgressJSONPath)
		for status, list := range map[string]string{"SUCCEEDED": stage.SuccessStatuses, "CANCELED": stage.CanceledStatuses, "TERMINAL": stage.TerminalStatuses} {
			for one := range strings.SplitSeq(list, ",") {
				if strings.EqualFold(strings.TrimSpace(one), value) {
					return status, progress
				}
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// read gives the string at a path of one step, which must be there.
func (s *spinnaker) read(body, path string) string {
	s.t.Helper()
	key, ok := strings.CutPrefix(path, "$.")
	require.True(s.t, ok, path)
	var all map[string]any
	decode(s.t, body, &all)
	value, ok := all[key].(string)
	require.True(s.t, ok, "%s is no single value in %s", path, body)
	return value
}

// send gives the status and body of an answer; 0 when there was none.
func (s *spinnaker) send(stage spinnakerStage, method, url, payload string) (status int, body string) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		req, err := http.NewRequestWithContext(s.t.Context(), method, url, strings.NewReader(payload))
		require.NoError(s.t, err)
		for name, values := range stage.CustomHeaders {
			for _, v := range values {
				req.Header.Add(name, s.expand(v, nil))
			}
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		text, err := io.ReadAll(resp.Body)
		require.NoError(s.t, errors.Join(err, resp.Body.Close()))
		if resp.StatusCode < 500 || time.Now().After(deadline) {
			return resp.StatusCode, string(text)
		}
		time.Sleep(often)
	}
}

// pipeline runs the stages one after the other until one fails that fails the pipeline.
func (s *spinnaker) pipeline(text string) (status, said string) {
	s.t.Helper()
	var p struct {
		Stages []struct {
			RefID                          string
			RequisiteStageRefIds           []string
			Type                           string
			FailPipeline, ContinuePipeline bool
			ParameterValues                map[string]string
		}
	}
	require.NoError(s.t, json.Unmarshal([]byte(text), &p))
	before := []string{}
	for _, stage := range p.Stages {
		require.Equal(s.t, before, stage.RequisiteStageRefIds, "one after the other")
		before = []string{stage.RefID}
		var out string
		if stage.Type == "deployManifest" {
			code, told := s.shell(s.t, nil, "./deploy")
			status, out = "SUCCEEDED", told
			if code != 0 {
				status = "TERMINAL"
			}
		} else {
			status, out = s.stage(stage.Type, stage.ParameterValues)
		}
		said += stage.Type + ": " + status + ": " + out + "\n"
		if status != "SUCCEEDED" && !stage.ContinuePipeline {
			return status, said
		}
	}
	return status, said
}

func TestPipelineSpinnaker(t *testing.T) {
	t.Parallel()
	w := startWorks(t)
	for name, one := range errands {
		t.Run(name, func(t *testing.T) {
			vars := w.prepare(t, &one)
			config, text := pipeline(t, "spinnaker/orca-local.yml"), pipeline(t, "spinnaker/pipeline.json")
			if one.unclear == "pass" {
				config = strings.Replace(config, "successStatuses: passed", "successStatuses: passed,inconclusive", 1)
				config = strings.Replace(config, ",inconclusive\n", "\n", 1)
			}
			if one.absent == "continue" {
				text = strings.NewReplacer(`"failPipeline": true`, `"failPipeline": false`, `"continuePipeline": false`, `"continuePipeline": true`).Replace(text)
			}
			s := newSpinnaker(t, w, config, map[string]string{
				"GATEKEEPER_URL": vars["GATEKEEPER_URL"], "GATEKEEPER_TOKEN": pipelineToken, "parameters['version']": "v2",
				openedID: "", "execution['id']": idOf(name),
			})
			status, said := s.pipeline(text)
			t.Log(said)
			if one.deploy != "" { // it can't be said to be deployed, or nobody says that it failed: it ends by itself
				require.Equal(t, "TERMINAL", status, said)
				require.Equal(t, map[int]gatekeeper.Outcome{3: gatekeeper.OutcomeRolledBack, 9: gatekeeper.OutcomeInconclusive}[one.code], w.ended(t).Outcome)
				return
			}
			require.Equal(t, one.code == 0 && !one.away, status == "SUCCEEDED", said)
			if one.away {
				_, err := os.Stat(w.workspace + "/deployed")
				require.Equal(t, one.absent == "continue", err == nil, said)
				return
			}
			w.check(t, one, said)
			if one.code == 3 {
				require.Contains(t, said, "checkout v2 in production: rolled_back, ")
			}
		})
	}
	t.Run("extend", func(t *testing.T) {
		one := errand{}
		vars := w.prepare(t, &one)
		s := newSpinnaker(t, w, pipeline(t, "spinnaker/orca-local.yml"), vars)
		w.gives(0, "release", "open", "--id", "longer", "--version", "v2", "-f", w.workspace+"/health.yml", "--deployed")
		status, said := s.stage("gatekeeperExtend", map[string]string{"release": "longer", "by": "1s"})
		require.Equal(t, "SUCCEEDED", status, said)
		r := w.ended(t)
		require.Equal(t, 9*time.Second, r.WindowEnd.Sub(r.DeployedAt))
	})
}
