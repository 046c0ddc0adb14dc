package webhooks

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatekeeper-engine/gatekeeper"
)

const alertName = gatekeeper.AlertNameLabel

// external is an alert as both senders give it.
type external struct {
	labels, annotations map[string]string
	starts, ends        time.Time
	firing              bool
}

// alert gives the domain's alert, or what is wrong with it.
func (w *Webhooks) alert(sender string, now time.Time, e external) (gatekeeper.Alert, error) {
	if err := checkLabels(e.labels); err != nil {
		return gatekeeper.Alert{}, err
	}
	name := e.labels[alertName]
	if name == "" {
		return gatekeeper.Alert{}, errors.New("the label alertname is missing")
	}
	if e.starts.IsZero() {
		e.starts = now
	}
	if !e.ends.IsZero() && e.ends.Before(e.starts) {
		return gatekeeper.Alert{}, fmt.Errorf("%s ends before it starts", name)
	}
	if !e.firing && e.ends.IsZero() {
		e.ends = now
	}
	labels := maps.Clone(e.labels)
	for _, replica := range w.replicas {
		delete(labels, replica)
	}
	maps.DeleteFunc(labels, func(_, value string) bool { return value == "" }) // the same as absent
	return gatekeeper.Alert{
		Key: gatekeeper.AlertKey(name, labels), Name: name, Labels: labels, Summary: summary(e.annotations), Sender: sender,
		Firing: e.firing, StartsAt: e.starts.UTC(), EndsAt: e.ends.UTC(), SeenAt: now.UTC(),
	}, nil
}

func checkLabels(labels map[string]string) error {
	if len(labels) == 0 {
		return errors.New("it has no labels")
	}
	if len(labels) > maxLabels {
		return fmt.Errorf("it has %d labels, more than %d", len(labels), maxLabels)
	}
	sum := 0
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		value := labels[name]
		sum += len(name) + len(value)
		switch {
		case name == "" || !utf8.ValidString(name) || !utf8.ValidString(value):
			return fmt.Errorf("the label %q is not valid UTF-8 or has no name", clip(name))
		case len(name) > maxLabelName || len(value) > maxLabel:
			return fmt.Errorf("the label %q is too long (%d bytes; a name may have %d, a value %d)", clip(name), max(len(name), len(value)), maxLabelName, maxLabel)
		}
	}
	if sum > maxLabelSum {
		return fmt.Errorf("its labels have %d bytes, more than %d", sum, maxLabelSum)
	}
	return nil
}

func summary(annotations map[string]string) string {
	return clip(cmp.Or(annotations["summary"], annotations["description"], annotations["message"]))
}

// clip keeps at most [gatekeeper.MaxEvidenceText] bytes, whole characters, valid UTF-8.
func clip(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= gatekeeper.MaxEvidenceText {
		return text
	}
	cut := gatekeeper.MaxEvidenceText - len("…")
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
