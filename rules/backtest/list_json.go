package backtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// parseJSON reads a list of objects, token by token: so every value is known by its place, and a key
// that stands twice is seen.
func parseJSON(name string, data []byte) ([]Release, error) {
	p := &jsonReader{name: name, data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	if err := p.delim('['); err != nil {
		return nil, err
	}
	var list []Release
	ids := map[string]bool{}
	for p.dec.More() {
		r, at, err := p.release()
		if err != nil {
			return nil, err
		}
		if len(list) == maxReleases {
			return nil, at.errorf("split the list", "there are more than %d releases", maxReleases)
		}
		if err := r.check(at); err != nil {
			return nil, err
		}
		if err := unique(at, ids, r); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	if err := p.delim(']'); err != nil {
		return nil, err
	}
	if _, err := p.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, p.at().errorf("", "there is something after the list's end")
	}
	return list, nil
}

// jsonReader is a list that is being read.
type jsonReader struct {
	name  string
	data  []byte
	dec   *json.Decoder
	start int // of what was read last, in bytes
}

// at gives the place of what was read last.
func (p *jsonReader) at() place {
	before := p.data[:min(p.start, len(p.data))]
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	return place{p.name, bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(line) + 1}
}

func (p *jsonReader) token() (json.Token, error) {
	p.start = int(p.dec.InputOffset())
	for p.start < len(p.data) && bytes.IndexByte([]byte(" \t\r\n,:"), p.data[p.start]) >= 0 {
		p.start++
	}
	t, err := p.dec.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, p.at().errorf("it is a list of objects, such as [{\"version\": …, \"deployed\": …}]", "the list can't be read: %v", err)
	}
	return t, nil
}

func (p *jsonReader) delim(want json.Delim) error {
	t, err := p.token()
	if err == nil && t != want {
		err = p.at().errorf("it is a list of objects, such as [{\"version\": …, \"deployed\": …}]", "here must be %s, not %s", want, kindOf(t))
	}
	return err
}

// release reads one object.
func (p *jsonReader) release() (r Release, at place, err error) {
	if err := p.delim('{'); err != nil {
		return r, at, err
	}
	at = p.at()
	seen := map[string]bool{}
	for p.dec.More() {
		key, err := p.key(seen)
		if err != nil {
			return r, at, err
		}
		if err := known(p.at(), key); err != nil {
			return r, at, err
		}
		if key == "labels" {
			r.Labels, err = p.labels()
		} else if text, read := p.text(key); read != nil {
			err = read
		} else {
			err = r.set(p.at(), key, text)
		}
		if err != nil {
			return r, at, err
		}
	}
	return r, at, p.delim('}')
}

func (p *jsonReader) key(seen map[string]bool) (string, error) {
	t, err := p.token()
	if err != nil {
		return "", err
	}
	key := fmt.Sprint(t) // of an object it is a text
	if seen[key] {
		return "", p.at().errorf("", "%q stands twice", key)
	}
	seen[key] = true
	return key, nil
}

func (p *jsonReader) text(key string) (string, error) {
	t, err := p.token()
	if err != nil {
		return "", err
	}
	text, ok := t.(string)
	if !ok {
		return "", p.at().errorf("", "%s must be a text, not %s", key, kindOf(t))
	}
	return text, nil
}

func (p *jsonReader) labels() (map[string]string, error) {
	if err := p.delim('{'); err != nil {
		return nil, err
	}
	all, seen := map[string]string{}, map[string]bool{}
	for p.dec.More() {
		name, err := p.key(seen)
		if err != nil {
			return nil, err
		}
		if all[name], err = p.text("label " + name); err != nil {
			return nil, err
		}
		if err := countLabels(p.at(), all); err != nil {
			return nil, err
		}
	}
	return all, p.delim('}')
}

func kindOf(t json.Token) string {
	switch t := t.(type) {
	case json.Delim:
		return t.String()
	case nil:
		return "null"
	case string:
		return "a text"
	case bool:
		return "true or false"
	default:
		return "a number"
	}
}
