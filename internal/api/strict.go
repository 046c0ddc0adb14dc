package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

// strictJSON is JSON whose text says one thing only: of a key that stands twice encoding/json
// takes the last, and for bytes that are no UTF-8 it puts U+FFFD, so that two versions become one.
var strictJSON = huma.Format{
	Marshal: huma.DefaultJSONFormat.Marshal,
	Unmarshal: func(data []byte, v any) error {
		if !utf8.Valid(data) {
			return errors.New("the body is not UTF-8 text")
		}
		if err := json.Unmarshal(data, v); err != nil { // before unique: it bounds the depth
			return err
		}
		return unique(data)
	},
}

// level is an object or an array around a token.
type level struct {
	keys  map[string]bool // of an object so far; nil for an array
	at    string          // the key or the index of the value that comes, or came last
	value bool            // of an object: its value comes next
	n     int             // elements of an array so far
}

// unique says which key of valid JSON stands twice in its object.
func unique(data []byte) error {
	in := json.NewDecoder(bytes.NewReader(data))
	var around []*level
	for {
		token, err := in.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			around = around[:len(around)-1]
			continue
		}
		if len(around) > 0 {
			if key, twice := around[len(around)-1].take(token); twice {
				return fmt.Errorf("%s stands twice", place(around))
			} else if key {
				continue
			}
		}
		switch token {
		case json.Delim('{'):
			around = append(around, &level{keys: map[string]bool{}})
		case json.Delim('['):
			around = append(around, &level{})
		}
	}
}

// take notes a token that begins something in the level: a key, perhaps for the second time, or a value.
func (l *level) take(token json.Token) (key, twice bool) {
	switch {
	case l.keys == nil:
		l.at = strconv.Itoa(l.n)
		l.n++
		return false, false
	case l.value:
		l.value = false
		return false, false
	}
	l.at, l.value = fmt.Sprint(token), true
	twice = l.keys[l.at]
	l.keys[l.at] = true
	return true, twice
}

// place names where a token stands, as huma does: body.labels.region.
func place(around []*level) string {
	path := []string{"body"}
	for _, l := range around {
		path = append(path, l.at)
	}
	return strings.Join(path, ".")
}

// arriving gives a request's body so long to arrive, and leaves the time to answer that it did not.
func arriving(within time.Duration, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A writer without deadlines is a test's; the server's own limit remains.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(within))
		h.ServeHTTP(w, r)
	})
}
