package etcd

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Fault is something that is wrong with the store. Key is where: a key of the store, or a file.
type Fault struct {
	Key  string `json:"key"`
	Says string `json:"says"`
}

// Report is what [Verify] found: how much there is, and what is wrong with it.
type Report struct {
	Revision int64   `json:"revision"` // of the store when it was read
	Releases int     `json:"releases"`
	Open     int     `json:"open"`
	Facts    int     `json:"facts"`
	Files    int     `json:"files"`
	Audits   int     `json:"audits"` // audit records
	Others   int     `json:"others"` // values that other packages keep in the store, such as flags
	Faults   []Fault `json:"faults"`
}

// Check says what is wrong with a value that another package keeps in the store; revision is that
// of its last change.
type Check func(key string, value []byte, revision int64) error

// Verify reads everything in the store behind client, as it is at one instant, and writes nothing.
// Every checksum is compared, every record decoded, every release replayed by its facts, every
// pinned file compared with its hash, and the listings with what they list. Others checks what is
// below other prefixes. The error is for a store that can't be read.
func Verify(ctx context.Context, client *clientv3.Client, others map[string]Check) (Report, error) {
	v := verification{others: others, releases: map[string]*found{}, files: map[string]*pieces{}}
	v.report.Faults = []Fault{}
	from, end := root, clientv3.GetPrefixRangeEnd(root)
	for {
		opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(page), clientv3.WithRev(v.report.Revision)}
		resp, err := client.Get(ctx, from, opts...)
		if err != nil {
			return Report{}, unavailable("reading the store from "+from, err)
		}
		v.report.Revision = cmp.Or(v.report.Revision, resp.Header.Revision)
		for _, kv := range resp.Kvs {
			v.take(string(kv.Key), kv.Value, kv.ModRevision)
		}
		if !resp.More {
			break
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
	v.compare()
	return v.report, nil
}

// page is how many keys are read at once; a value has at most 1 MiB.
const page = 32

// verification is the state of one reading. Keys come in order.
type verification struct {
	others   map[string]Check
	releases map[string]*found
	files    map[string]*pieces
	audit    int64 // position of the last audit record that was read; 0: none yet
	audited  bool  // what should be the last one was read
	report   Report
}

// found is what is there of one release.
type found struct {
	release     gatekeeper.Release
	facts       int64
	broken      bool // its facts are in doubt, so that nothing else of it can be compared
	last        int64
	place       string
	listed      string // the place under which it is listed; likewise open
	open        string
	file        string
	began, over bool
}

// pieces is what is there of one file.
type pieces struct {
	sum    hash.Hash
	chunks int
	header bool // there, and as the chunks are
}

func (v *verification) fault(key, format string, args ...any) {
	v.report.Faults = append(v.report.Faults, Fault{Key: key, Says: fmt.Sprintf(format, args...)})
}

func (v *verification) release(id string) *found {
	if v.releases[id] == nil {
		v.releases[id] = &found{release: gatekeeper.Release{ID: id}}
	}
	return v.releases[id]
}

// take reads one key.
func (v *verification) take(key string, value []byte, revision int64) {
	switch {
	case key == ownerKey:
	case key == newestKey:
		if _, err := bodyOf(key, value); err != nil {
			v.fault(key, "which release is the newest is not told: %v", err)
		}
	case key == auditedKey:
		v.lastAudit(key, value)
	case strings.HasPrefix(key, auditRoot):
		v.auditRecord(key, value)
	case strings.HasPrefix(key, chunksRoot):
		v.chunk(key, value)
	case strings.HasPrefix(key, filesRoot):
		v.header(key, value)
	case strings.HasPrefix(key, factsRoot):
		v.record(key, value)
	case strings.HasPrefix(key, lastRoot):
		v.number(key, value)
	case strings.HasPrefix(key, placeRoot):
		if id, ok := v.id(key, strings.TrimPrefix(key, placeRoot)); ok {
			v.release(id).place = string(value)
		}
	case strings.HasPrefix(key, releaseRoot):
		v.listing(key, releaseRoot, func(f *found, place string) { f.listed = place })
	case strings.HasPrefix(key, openRoot):
		v.listing(key, openRoot, func(f *found, place string) { f.open = place })
	case strings.HasPrefix(key, secretRoot):
		if _, err := bodyOf(key, value); err != nil {
			v.fault(key, "the secret is broken: %v", err)
		}
	default:
		v.other(key, value, revision)
	}
}

func (v *verification) other(key string, value []byte, revision int64) {
	for prefix, check := range v.others {
		if strings.HasPrefix(key, prefix) {
			v.report.Others++
			if err := check(key, value, revision); err != nil {
				v.fault(key, "%v", err)
			}
			return
		}
	}
	v.fault(key, "nobody knows what this key is")
}

func (v *verification) id(key, escaped string) (string, bool) {
	id, err := url.PathUnescape(escaped)
	if err != nil {
		v.fault(key, "it names no release: %v", err)
	}
	return id, err == nil
}

func (v *verification) listing(key, under string, note func(*found, string)) {
	place, escaped, _ := strings.Cut(strings.TrimPrefix(key, under), "/")
	if id, ok := v.id(key, escaped); ok {
		note(v.release(id), place)
	}
}

func (v *verification) chunk(key string, value []byte) {
	hash, n, _ := strings.Cut(strings.TrimPrefix(key, chunksRoot), "/")
	p := v.files[hash]
	if p == nil {
		p = &pieces{sum: sha256.New()}
		v.files[hash] = p
	}
	if i, err := strconv.Atoi(n); err != nil || i != p.chunks {
		v.fault(key, "chunk %d of the file belongs here", p.chunks)
	}
	p.chunks++
	p.sum.Write(value)
}

func (v *verification) header(key string, value []byte) {
	v.report.Files++
	name := strings.TrimPrefix(key, filesRoot)
	p := v.files[name]
	if p == nil { // an empty file has no chunks
		p = &pieces{sum: sha256.New()}
		v.files[name] = p
	}
	body, err := bodyOf(key, value)
	if err != nil {
		v.fault(key, "%v", err)
		return
	}
	switch sum := hex.EncodeToString(p.sum.Sum(nil)); {
	case string(body) != strconv.Itoa(p.chunks):
		v.fault(key, "%d of %s chunks of the file are there", p.chunks, body)
	case sum != name:
		v.fault(key, "the file's content has the hash %s", sum)
	default:
		p.header = true
	}
}

// record replays the facts of one commit.
func (v *verification) record(key string, value []byte) {
	id, first, err := idOfFacts(key)
	if err != nil {
		v.fault(key, "it names no fact: %v", err)
		return
	}
	f := v.release(id)
	f.began = true
	if f.broken { // told already
		return
	}
	facts, err := v.facts(key, value, f.facts+1)
	if err == nil && first != f.facts+1 {
		err = fmt.Errorf("fact %d belongs here", f.facts+1)
	}
	for i := 0; i < len(facts) && err == nil; i++ {
		f.facts++
		v.report.Facts++
		if f.release, err = f.release.With(facts[i]); err != nil {
			err = fmt.Errorf("the release can't be replayed: %w", err)
		}
		switch body := facts[i].Body.(type) {
		case gatekeeper.Opened:
			f.file = body.File
		case gatekeeper.Closed:
			f.over = true
		}
	}
	if err != nil {
		f.broken = true
		v.fault(key, "%v", err)
	}
}

func (v *verification) facts(key string, value []byte, first int64) ([]gatekeeper.Fact, error) {
	body, err := bodyOf(key, value)
	if err != nil {
		return nil, err
	}
	return gatekeeper.DecodeRecord(bytes.Clone(body), first)
}

func (v *verification) number(key string, value []byte) {
	id, ok := v.id(key, strings.TrimPrefix(key, lastRoot))
	if !ok {
		return
	}
	f := v.release(id)
	body, err := bodyOf(key, value)
	if err == nil {
		f.last, err = strconv.ParseInt(string(body), 10, 64)
	}
	if err != nil {
		f.last = -1
		v.fault(key, "%v", err)
	}
}

// compare tells what of a release does not agree with the rest of it.
func (v *verification) compare() {
	if v.audit != 0 && !v.audited {
		v.fault(auditedKey, "it is not told which audit record is the last")
	}
	for _, id := range slices.Sorted(maps.Keys(v.releases)) {
		f := v.releases[id]
		v.report.Releases++
		if f.broken {
			continue
		}
		switch {
		case !f.began:
			v.fault(factsPrefix(id), "the release has no facts")
			continue
		case f.last >= 0 && f.last != f.facts:
			v.fault(lastKey(id), "the release's last fact should be %d, and %d facts are there", f.last, f.facts)
		}
		if f.place == "" {
			v.fault(placeKey(id), "the release has no place in the listings")
		} else {
			v.listed(id, f)
		}
		if f.file != "" && (v.files[f.file] == nil || !v.files[f.file].header) {
			v.fault(fileKey(f.file), "release %s pinned this file, and it is not there as it was", id)
		}
	}
}

func (v *verification) listed(id string, f *found) {
	if f.listed != f.place {
		v.fault(listKey(releaseRoot, f.place, id), "the release is not in the list of releases")
	}
	switch {
	case f.over && f.open != "":
		v.fault(listKey(openRoot, f.open, id), "the release is closed, and listed as open")
	case !f.over && f.open != f.place:
		v.fault(listKey(openRoot, f.place, id), "the release is open, and not listed so: nobody watches it")
	case !f.over:
		v.report.Open++
	}
}
