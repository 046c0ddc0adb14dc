package etcd

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/gatekeeper-engine/gatekeeper"
)

const meanwhile = "until then no release is opened and nothing new is decided, while actions that are under way are still observed"

// unstarted is what a store that can't be started means for releases.
const unstarted = "nothing was started, and open releases are not watched"

// errUnfit is a store that was read and does not take up its work.
var errUnfit = errors.New("its log does not reach as far as its database, so one of them is damaged")

// unstartable says why the store in dir can't be started.
func unstartable(dir string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err // somebody interrupted it
	}
	says := "the store in %s can't be started, its files may be damaged; %s: %w"
	if errors.Is(err, context.DeadlineExceeded) {
		says = "the store in %s did not start in time; %s: %w"
	}
	return gatekeeper.Errorf(gatekeeper.CodeUnavailable,
		"Look at the disk and start Gatekeeper again; if it fails again, restore the directory from a backup, and roll releases that were open back by hand if they are bad.",
		says, dir, unstarted, err)
}

// unavailable says of a failed call what it means for releases.
func unavailable(doing string, err error) error {
	if e, ok := errors.AsType[*gatekeeper.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace):
		return gatekeeper.Errorf(gatekeeper.CodeUnavailable,
			"Stop the daemon and make room with: gatekeeper store prune --data-dir DIR --older-than AGE. In an etcd of your own: prune with --config FILE, compact and defragment it, or raise its quota, then disarm its alarm.",
			"%s: the store has reached its quota and takes no more facts; %s: %w", doing, meanwhile, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return gatekeeper.Errorf(gatekeeper.CodeUnavailable, "",
			"%s: the store did not answer in time: %w", doing, err)
	}
	return gatekeeper.Errorf(gatekeeper.CodeUnavailable,
		"See that the store's disk has space, is writable and answers, then try again.",
		"%s: the store does not answer; %s: %w", doing, meanwhile, err)
}

// corrupted says that what is stored under key can't be trusted.
func corrupted(key string, err error) error {
	return gatekeeper.Errorf(gatekeeper.CodeInternal,
		"Stop Gatekeeper, check the disk and restore the store from a backup; until then roll this release back by hand if it is bad.",
		"the journal is corrupted at %s: %w; the release it belongs to is not acted upon", key, err)
}
