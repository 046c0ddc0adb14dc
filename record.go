package gatekeeper

import (
	"encoding/json"
	"fmt"
)

// The limits of a [Journal], in bytes. A commit stays below etcd's default limit of a request
// (1.5 MiB), so any cluster can hold it.
const (
	MaxFact   = 256 << 10 // one fact as JSON
	MaxCommit = 1 << 20   // all facts of one commit as JSON
	MaxFile   = 8 << 20   // one pinned file

	maxEntries = 20 // of one commit: etcd takes 128 operations, and an entry needs up to five
)

// Records gives each entry's facts as journals keep them: numbered from After+1, in UTC, as one
// JSON array. It refuses, with [CodeInvalid], what no journal could hold: a release without an id
// or named twice, an entry without facts, a fact above [MaxFact], a commit above
// [MaxCommit] or of more than 20 releases.
func Records(entries []Entry) ([][]byte, error) {
	if len(entries) > maxEntries {
		return nil, Errorf(CodeInvalid, "", "a commit takes at most %d releases, not %d", maxEntries, len(entries))
	}
	records := make([][]byte, len(entries))
	seen := make(map[string]bool, len(entries))
	total := 0
	for i, e := range entries {
		if e.Release == "" || e.After < 0 || len(e.Facts) == 0 {
			return nil, Errorf(CodeInvalid, "", "a journal entry needs a release, a sequence number and a fact; this one has release %q, after %d, %d facts", e.Release, e.After, len(e.Facts))
		}
		if seen[e.Release] {
			return nil, Errorf(CodeInvalid, "", "release %s has two entries in one commit", e.Release)
		}
		seen[e.Release] = true
		record, err := e.record()
		if err != nil {
			return nil, err
		}
		records[i], total = record, total+len(record)
	}
	if total > MaxCommit {
		return nil, Errorf(CodeInvalid, "Write fewer facts at once.",
			"a commit of %d bytes is too large for the journal, which takes %d; nothing was written", total, MaxCommit)
	}
	return records, nil
}

func (e Entry) record() ([]byte, error) {
	facts := make([]json.RawMessage, len(e.Facts))
	for i, f := range e.Facts {
		f.Seq, f.At = e.After+1+int64(i), f.At.UTC()
		data, err := json.Marshal(f)
		if err != nil {
			return nil, Errorf(CodeInvalid, "", "release %s: %w", e.Release, err)
		}
		if len(data) > MaxFact {
			return nil, Errorf(CodeInvalid, "Give the release less evidence: fewer series, shorter labels and messages.",
				"release %s: a fact %q of %d bytes is too large for the journal, which takes %d; nothing was written", e.Release, f.Body.Kind(), len(data), MaxFact)
		}
		facts[i] = data
	}
	return json.Marshal(facts)
}

// DecodeRecord gives back the facts of a record; first is the sequence number it must begin with.
// Any doubt is an error: a release rebuilt from wrong facts would act wrongly.
func DecodeRecord(record []byte, first int64) ([]Fact, error) {
	var facts []Fact
	if err := json.Unmarshal(record, &facts); err != nil {
		return nil, err
	}
	if len(facts) == 0 {
		return nil, fmt.Errorf("a record without facts")
	}
	for i, f := range facts {
		if want := first + int64(i); f.Seq != want {
			return nil, fmt.Errorf("fact %d stands where fact %d belongs", f.Seq, want)
		}
	}
	return facts, nil
}
