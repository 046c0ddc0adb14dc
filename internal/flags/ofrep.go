package flags

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
)

// MaxBody is the size of a request's body, in bytes.
const MaxBody = 64 << 10

// Handler answers OpenFeature's remote evaluation protocol (open-feature/protocol,
// service/openapi.yaml, 0.1.0):
//
//	POST /ofrep/v1/evaluate/flags/{key}   one flag
//	POST /ofrep/v1/evaluate/flags         all flags; ETag, and 304 for If-None-Match
//
// Of the context only targetingKey counts. Authentication is the caller's.
func Handler(s *Store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ofrep/v1/evaluate/flags/{key}", s.serveOne)
	mux.HandleFunc("POST /ofrep/v1/evaluate/flags", s.serveAll)
	return mux
}

// success and failure are evaluationSuccess and evaluationFailure of the protocol.
type success struct {
	Key      string   `json:"key"`
	Reason   Reason   `json:"reason"`
	Variant  string   `json:"variant"`
	Value    any      `json:"value"`
	Metadata metadata `json:"metadata"`
}

type metadata struct {
	Version int64 `json:"version"`
}

type failure struct {
	Key     string    `json:"key,omitempty"`
	Code    ErrorCode `json:"errorCode"`
	Details string    `json:"errorDetails,omitempty"`
}

func (e Evaluation) wire() any {
	if e.Error != "" {
		return failure{e.Key, e.Error, e.Details}
	}
	return success{e.Key, e.Reason, e.Variant, e.Value, metadata{e.Version}}
}

func (s *Store) serveOne(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	c, bad := contextOf(w, r)
	if bad != nil {
		bad.Key = key
		answer(w, http.StatusBadRequest, bad)
		return
	}
	e := s.Evaluate(key, c)
	status := http.StatusOK
	switch e.Error {
	case "":
	case ErrorNotFound:
		status = http.StatusNotFound
	default:
		status = http.StatusBadRequest
	}
	answer(w, status, e.wire())
}

func (s *Store) serveAll(w http.ResponseWriter, r *http.Request) {
	c, bad := contextOf(w, r)
	if bad != nil {
		answer(w, http.StatusBadRequest, bad)
		return
	}
	all := s.EvaluateAll(c)
	flags := make([]any, len(all))
	for i, e := range all {
		flags[i] = e.wire()
	}
	body := encode(map[string]any{"flags": flags})
	sum := sha256.Sum256(body)
	etag := `"` + hex.EncodeToString(sum[:16]) + `"`
	w.Header().Set("ETag", etag)
	if matches(r.Header.Values("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	send(w, http.StatusOK, body)
}

// contextOf reads the request's context, or says what is wrong with it.
func contextOf(w http.ResponseWriter, r *http.Request) (Context, *failure) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); r.Header.Get("Content-Type") != "" && (err != nil || kind != "application/json") {
		return Context{}, &failure{Code: ErrorParse, Details: "the body must be application/json"}
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return Context{}, &failure{Code: ErrorParse, Details: "the body is larger than 64 KiB"}
	}
	if err != nil {
		return Context{}, &failure{Code: ErrorParse, Details: "the body could not be read"}
	}
	var request struct {
		Context json.RawMessage `json:"context"`
	}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &request); err != nil {
			return Context{}, &failure{Code: ErrorParse, Details: "the body is not a JSON object"}
		}
	}
	var given map[string]json.RawMessage
	if len(request.Context) > 0 {
		if err := json.Unmarshal(request.Context, &given); err != nil {
			return Context{}, &failure{Code: ErrorContext, Details: "the context is not a JSON object"}
		}
	}
	var c Context
	if raw, ok := given["targetingKey"]; ok {
		if err := json.Unmarshal(raw, &c.TargetingKey); err != nil {
			return Context{}, &failure{Code: ErrorContext, Details: "the context's targetingKey is not a string"}
		}
	}
	return c, nil
}

// matches compares weakly, as RFC 9110, 13.1.2 asks of If-None-Match.
func matches(values []string, etag string) bool {
	for _, value := range values {
		for one := range strings.SplitSeq(value, ",") {
			one = strings.TrimSpace(one)
			if one == "*" || strings.TrimPrefix(one, "W/") == etag {
				return true
			}
		}
	}
	return false
}

// encode gives JSON of what this package made: booleans, strings and numbers, which always encode.
func encode(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return append(body, '\n')
}

func answer(w http.ResponseWriter, status int, v any) { send(w, status, encode(v)) }

// send writes a body; a client that has gone away needs no answer.
func send(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
