package api

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// shelf keeps flags by the versions that [Flags] asks for.
type shelf map[string]Flag

func (s shelf) List() []Flag {
	var all []Flag
	for _, f := range s {
		all = append(all, f)
	}
	return all
}

func (s shelf) Get(_ context.Context, key string) (Flag, error) {
	if f, ok := s[key]; ok {
		return f, nil
	}
	return Flag{}, gatekeeper.Errorf(gatekeeper.CodeNotFound, "", "there is no flag %q", key)
}

func (s shelf) Put(_ context.Context, f Flag, _ gatekeeper.By) (Flag, error) {
	if s[f.Key].Version != f.Version {
		return Flag{}, gatekeeper.Errorf(gatekeeper.CodeConflict, "", "somebody else was first")
	}
	f.Version++
	s[f.Key] = f
	return f, nil
}

func (s shelf) Delete(_ context.Context, key string, version int64, _ gatekeeper.By) error {
	if s[key].Version != version {
		return gatekeeper.Errorf(gatekeeper.CodeConflict, "", "somebody else was first")
	}
	delete(s, key)
	return nil
}

func TestFlags(t *testing.T) {
	f := serve(t, Config{Engine: newScripted(), Flags: shelf{}})
	_, body := f.do("GET", "/api/v1/flags", "")
	require.JSONEq(t, `{"flags":[]}`, body)
	status, body := f.do("PUT", "/api/v1/flags/new", `{"enabled":true,"variants":{"on":true,"off":false}}`)
	require.Equal(t, 200, status, body)
	require.JSONEq(t, `{"key":"new","variants":{"on":true,"off":false},"enabled":true,"on":"","off":"","percentage":100,"version":1}`, body)
	require.Equal(t, 409, f.problem("PUT", "/api/v1/flags/new", `{"enabled":false}`).Status)
	status, body = f.do("PUT", "/api/v1/flags/new", `{"enabled":true,"percentage":0,"version":1}`)
	require.Equal(t, 200, status, body)
	require.Contains(t, body, `"percentage":0`, "an explicit 0 is not the default")
	require.Equal(t, 422, f.problem("PUT", "/api/v1/flags/new", `{"enabled":true,"percentage":101}`).Status)
	require.Equal(t, 404, f.problem("GET", "/api/v1/flags/old", "").Status)
	require.Equal(t, 422, f.problem("DELETE", "/api/v1/flags/new", "").Status, "which version?")
	require.Equal(t, 409, f.problem("DELETE", "/api/v1/flags/new?version=1", "").Status)
	status, _ = f.do("DELETE", "/api/v1/flags/new?version=2", "")
	require.Equal(t, 204, status)

	guarded := serve(t, Config{Engine: newScripted(), Flags: shelf{}, Tokens: tokens(t)})
	require.Equal(t, 403, guarded.with("Authorization", "Bearer "+ciSecret).problem("PUT", "/api/v1/flags/new", `{"enabled":true}`).Status)
}

// Who changed a flag is in the log; a change that was refused is not.
func TestFlagChangesAreLogged(t *testing.T) {
	var said bytes.Buffer
	f := serve(t, Config{Engine: newScripted(), Flags: shelf{}, Tokens: tokens(t), Log: slog.New(slog.NewTextHandler(&said, nil))})
	ops := f.with("Authorization", "Bearer "+opsSecret)
	status, body := ops.do("PUT", "/api/v1/flags/f", `{"enabled":true}`)
	require.Equal(t, 200, status, body)
	require.Equal(t, 409, ops.problem("PUT", "/api/v1/flags/f", `{"enabled":true}`).Status)
	status, _ = ops.do("DELETE", "/api/v1/flags/f?version=1", "")
	require.Equal(t, 204, status)
	require.Equal(t, 1, strings.Count(said.String(), `msg="flag changed" flag=f version=1 enabled=true actor=ops`))
	require.Contains(t, said.String(), `msg="flag deleted" flag=f version=1 actor=ops`)
}
