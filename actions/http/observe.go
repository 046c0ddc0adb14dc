package httpaction

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper"
)

const maxAnswer = 1 << 20 // bytes of an answer that is looked into

// Observe asks observe's path. The answer itself stays here: what is shown is its status, and
// whether the value is the wanted one.
func (r *request) Observe(ctx context.Context, _ gatekeeper.Target) (gatekeeper.Live, error) {
	if r.settings.Observe == nil {
		return gatekeeper.Live{
			Position: gatekeeper.Unknown,
			Says:     "the health file gives nothing to observe: an accepted request is all that is known",
		}, nil
	}
	defer r.client.CloseIdleConnections()
	live, err := r.look(ctx)
	if err != nil {
		return gatekeeper.Live{Position: gatekeeper.Unknown, Says: err.Error()}, nil
	}
	return live, nil
}

func (r *request) look(ctx context.Context) (gatekeeper.Live, error) {
	o := r.settings.Observe
	u, err := r.values.below(r.base, o.Path)
	if err != nil {
		return gatekeeper.Live{}, err
	}
	status, body, err := r.get(ctx, http.MethodGet, u)
	if err != nil {
		return gatekeeper.Live{}, err
	}
	where := fmt.Sprintf("GET %s answered %d", u, status)
	if !slices.Contains(o.Status, status) {
		l := gatekeeper.Live{Position: gatekeeper.Elsewhere, Print: strconv.Itoa(status), Says: where}
		if telling := status/100 == 2 || status == http.StatusNotFound || status == http.StatusGone; !telling {
			l.Position, l.Print = gatekeeper.Unknown, ""
		}
		return l, nil
	}
	if o.Pointer == "" {
		return gatekeeper.Live{Position: gatekeeper.AtTarget, Print: strconv.Itoa(status), Says: where}, nil
	}
	return r.compare(where, body)
}

// compare looks for the wanted value in an answer.
func (r *request) compare(where string, body []byte) (gatekeeper.Live, error) {
	o := r.settings.Observe
	want, err := r.values.json(o.Equals)
	if err != nil {
		return gatekeeper.Live{}, err
	}
	found, err := canonical(body, o.Pointer)
	if errors.Is(err, errNoValue) {
		return gatekeeper.Live{Position: gatekeeper.Elsewhere, Print: "none", Says: where + ", without a value at " + o.Pointer}, nil
	}
	if err != nil {
		return gatekeeper.Live{}, fmt.Errorf("%s, but it is no JSON", where)
	}
	want, err = canonical(want, "")
	if err != nil {
		return gatekeeper.Live{}, fmt.Errorf("observe.equals: %w", err)
	}
	l := gatekeeper.Live{Position: gatekeeper.AtTarget, Print: digest(found), Says: fmt.Sprintf("%s, and %s is %s", where, o.Pointer, want)}
	if !bytes.Equal(found, want) {
		l.Position, l.Says = gatekeeper.Elsewhere, fmt.Sprintf("%s, and %s is not %s", where, o.Pointer, want)
	}
	return l, nil
}

var errNoValue = errors.New("no such value")

// canonical gives the value at a pointer (RFC 6901), encoded with sorted keys.
func canonical(text []byte, pointer string) ([]byte, error) {
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	if pointer != "" {
		for token := range strings.SplitSeq(pointer[1:], "/") {
			token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
			switch t := tree.(type) {
			case map[string]any:
				v, ok := t[token]
				if !ok {
					return nil, errNoValue
				}
				tree = v
			case []any:
				i, err := strconv.Atoi(token)
				if err != nil || i < 0 || i >= len(t) {
					return nil, errNoValue
				}
				tree = t[i]
			default:
				return nil, errNoValue
			}
		}
	}
	return json.Marshal(tree)
}

// get asks without changing anything.
func (r *request) get(ctx context.Context, method string, u *url.URL) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return 0, nil, err
	}
	answer, err := r.client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("%s %s: %w", method, u, plain(err))
	}
	defer discard(answer)
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("%s %s: the answer broke off: %w", method, u, err)
	}
	return answer.StatusCode, body, nil
}
