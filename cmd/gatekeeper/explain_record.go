package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/pflag"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/etcd"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// record is where the record of a release is read from.
type record struct {
	daemon                   connection
	dataDir, snapshot, facts string
}

// found is the record of one release.
type found struct {
	id    string
	facts []gatekeeper.Fact
	file  *rules.File // the health file that it pinned; nil where that is not at hand
	why   string      // why not
}

func (r *record) flags(f *pflag.FlagSet) {
	r.daemon.flags(f)
	f.StringVar(&r.dataDir, "data-dir", "", dataDirUsage)
	f.StringVar(&r.snapshot, "snapshot", "", "snapshot of a store to read, instead of a running daemon")
	f.StringVar(&r.facts, "facts", "", "file of facts as JSON to read, - for standard input")
}

// maxFacts bounds what is read of a file of facts, in bytes.
const maxFacts = 256 << 20

func (r *record) read(ctx context.Context, stdin io.Reader, id string) (found, error) {
	switch n := given(r.dataDir) + given(r.snapshot) + given(r.facts); {
	case n > 1:
		return found{}, usagef("--data-dir, --snapshot and --facts exclude each other")
	case id == "" && r.facts == "":
		return found{}, usagef("give the id of a release; gatekeeper release list shows them")
	case r.dataDir != "":
		return readStore(ctx, storeDir(r.dataDir), id)
	case r.snapshot != "":
		return r.readSnapshot(ctx, id)
	case r.facts != "":
		return r.readFacts(stdin, id)
	}
	daemon, err := r.daemon.dial()
	if err != nil {
		return found{}, err
	}
	facts, err := daemon.Facts(ctx, id)
	if err != nil {
		return found{}, err
	}
	bundle, err := daemon.File(ctx, id)
	if err != nil {
		return found{id: id, facts: facts, why: "the daemon does not give the health file that it pinned: " + err.Error()}, nil
	}
	return loaded(id, facts, bundle), nil
}

// loaded adds the health file that a release pinned.
func loaded(id string, facts []gatekeeper.Fact, bundle rules.Bundle) found {
	file, err := rules.Load(bundle)
	if err != nil {
		return found{id: id, facts: facts, why: "the health file that it pinned can't be used any more: " + err.Error()}
	}
	return found{id: id, facts: facts, file: file}
}

func (r *record) readFacts(stdin io.Reader, id string) (found, error) {
	in := stdin
	if r.facts != "-" {
		f, err := os.Open(r.facts)
		if err != nil {
			return found{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "the facts can't be read: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxFacts+1))
	if err != nil {
		return found{}, err
	}
	if len(data) > maxFacts {
		return found{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "give the facts of one release", "there are more than %d bytes of facts", maxFacts)
	}
	facts, err := decodeFacts(data)
	return found{id: id, facts: facts, why: "facts come without the health file that they pin"}, err
}

// readSnapshot restores a snapshot for a moment, and reads from what came of it.
func (r *record) readSnapshot(ctx context.Context, id string) (found, error) {
	var out found
	err := inSnapshot(ctx, r.snapshot, func(journal gatekeeper.Journal) (err error) {
		out, err = readJournal(ctx, journal, id)
		return err
	})
	return out, err
}

// readStore reads a release from a store that nobody uses.
func readStore(ctx context.Context, dir, id string) (found, error) {
	var out found
	err := inStore(ctx, dir, func(journal gatekeeper.Journal) (err error) {
		out, err = readJournal(ctx, journal, id)
		return err
	})
	return out, err
}

// inSnapshot restores a snapshot for a moment, and lets read the journal in it.
func inSnapshot(ctx context.Context, snapshot string, read func(gatekeeper.Journal) error) error {
	dir, err := os.MkdirTemp("", "gatekeeper-")
	if err != nil {
		return err
	}
	store := storeDir(dir)
	if err = etcd.Restore(ctx, snapshot, store, nil); err == nil {
		err = inStore(ctx, store, read)
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// inStore lets read the journal of a store that nobody uses.
func inStore(ctx context.Context, dir string, read func(gatekeeper.Journal) error) error {
	s, err := openStopped(ctx, dir)
	if err != nil {
		return err
	}
	return errors.Join(read(etcd.ReadJournal(s.Client())), s.Close())
}

func readJournal(ctx context.Context, journal gatekeeper.Journal, id string) (found, error) {
	facts, err := journal.Facts(ctx, id)
	if errors.Is(err, gatekeeper.ErrNotFound) {
		return found{}, gatekeeper.Errorf(gatekeeper.CodeNotFound, "look whether it is the right store, and the id is whole", "there is no release %s in the store", id)
	}
	if err != nil {
		return found{}, err
	}
	opened, ok := facts[0].Body.(gatekeeper.Opened)
	if !ok {
		return found{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "verify the store: gatekeeper store verify", "the journal of release %s does not begin with its opening", id)
	}
	content, err := journal.File(ctx, opened.File)
	if err != nil {
		return found{}, err
	}
	bundle, err := rules.DecodeBundle(content)
	if err != nil {
		return found{}, err
	}
	return loaded(id, facts, bundle), nil
}
