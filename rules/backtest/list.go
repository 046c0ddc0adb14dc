package backtest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/suggest"
)

// Caps on a list of releases.
const (
	maxList     = 8 << 20 // bytes
	maxReleases = 5_000
	maxText     = 253 // characters of a name or version
	maxLabels   = 32
)

// columns are what a list has of a release; those with a star it must have.
var columns = []string{"id", "service", "environment", "version*", "previous_version", "deployed*", "ended", "window", "labels", "outcome", "bad_since"}

// ReadList reads past releases from a file: JSON where it begins with a bracket, else CSV with a
// header. Whatever it can't use is an error that says where it stands.
func ReadList(name string) ([]Release, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "the releases can't be read: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxList+1))
	if err != nil {
		return nil, err
	}
	return ParseList(name, data)
}

// ParseList reads what [ReadList] finds in a file of that name.
func ParseList(name string, data []byte) ([]Release, error) {
	if len(data) > maxList {
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "split the list", "%s has more than %d bytes", name, maxList)
	}
	parse := parseCSV
	if text := bytes.TrimSpace(data); len(text) > 0 && (text[0] == '[' || text[0] == '{') {
		parse = parseJSON
	}
	list, err := parse(name, data)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "give one line for each release", "%s holds no release", name)
	}
	return list, nil
}

// place is where something stands in a list, from 1.
type place struct {
	file         string
	line, column int
}

func (p place) errorf(hint, format string, args ...any) error {
	return gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, "%s:%d:%d: %s", p.file, p.line, p.column, fmt.Sprintf(format, args...))
}

// known says whether a list may have a column, and else what may be meant.
func known(at place, name string) error {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = strings.TrimSuffix(c, "*")
	}
	if slices.Contains(names, name) {
		return nil
	}
	hint := "they are " + strings.Join(names, ", ")
	if meant, ok := suggest.Nearest(name, names); ok {
		hint = "did you mean " + meant + "?"
	}
	return at.errorf(hint, "a release has no %q", name)
}

// set reads one value of a release; an empty one is as if it were left out.
func (r *Release) set(at place, name, text string) (err error) {
	if len(text) > maxText && name != "labels" {
		return at.errorf("", "%s has more than %d characters", name, maxText)
	}
	if text == "" {
		return nil
	}
	switch name {
	case "id":
		r.ID = text
	case "service":
		r.Service = text
	case "environment":
		r.Environment = text
	case "version":
		r.Version = text
	case "previous_version":
		r.PreviousVersion = text
	case "deployed":
		r.Deployed, err = instant(at, name, text)
	case "ended":
		r.Ended, err = instant(at, name, text)
	case "bad_since":
		r.BadSince, err = instant(at, name, text)
	case "window":
		d, parsed := model.ParseDuration(text)
		if parsed != nil || d <= 0 {
			return at.errorf("write it like 30m", "window %q is no duration", text)
		}
		r.Window = gatekeeper.Duration(d)
	case "labels":
		r.Labels, err = labelPairs(at, text)
	case "outcome":
		if r.Outcome = Outcome(text); !slices.Contains([]Outcome{Good, Bad, Unknown}, r.Outcome) {
			return at.errorf("an outcome is good, bad or unknown", "the outcome can't be %q", text)
		}
	}
	return err
}

func instant(at place, name, text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return t, at.errorf("write it like 2026-11-02T15:04:05Z", "%s %q is no time", name, text)
	}
	if t.Year() < 1990 || t.Year() > 2200 {
		return t, at.errorf("", "%s is in the year %d", name, t.Year())
	}
	return t.UTC(), nil
}

// labelPairs reads labels as CSV holds them: team=shop;tier=1.
func labelPairs(at place, text string) (map[string]string, error) {
	all := map[string]string{}
	for part := range strings.SplitSeq(text, ";") {
		name, value, ok := strings.Cut(part, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, at.errorf("write them like team=shop;tier=1", "%q is no label with its value", part)
		}
		if _, twice := all[name]; twice {
			return nil, at.errorf("", "label %q stands twice", name)
		}
		all[name] = strings.TrimSpace(value)
	}
	return all, countLabels(at, all)
}

func countLabels(at place, all map[string]string) error {
	if len(all) > maxLabels {
		return at.errorf("", "a release has more than %d labels", maxLabels)
	}
	for name, value := range all {
		if len(name) > maxText || len(value) > maxText {
			return at.errorf("", "label %.20q has more than %d characters", name, maxText)
		}
	}
	return nil
}

// check says what is wrong with a release whose values are all read.
func (r *Release) check(at place) error {
	switch {
	case r.Version == "":
		return at.errorf("", "a release has no version")
	case r.Deployed.IsZero():
		return at.errorf("write it like 2026-11-02T15:04:05Z", "version %s does not say when it was deployed", r.Version)
	case !r.Ended.IsZero() && !r.Ended.After(r.Deployed):
		return at.errorf("", "version %s ended before it was deployed", r.Version)
	case !r.BadSince.IsZero() && r.Outcome != Bad:
		return at.errorf("leave bad_since out, or write the outcome bad", "version %s is bad since %s, and its outcome is not bad", r.Version, r.BadSince.Format(time.RFC3339))
	}
	return nil
}

// unique says whether a list is short enough and names each id once.
func unique(at place, ids map[string]bool, r Release) error {
	if r.ID != "" && ids[r.ID] {
		return at.errorf("", "id %q stands twice", r.ID)
	}
	ids[r.ID] = true
	return nil
}
