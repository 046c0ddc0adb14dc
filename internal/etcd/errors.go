package etcd

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/gatekeeper-engine/gatekeeper"
)

const meanwhile = "until then no release is opened and nothing new is decided, while actions that are under way are still observed"

// unavailable says of a failed call what it means for releases.
func unavailable(doing string, err error) error {
	if e, ok := errors.AsType[*gatekeeper.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace):
		return gatekeeper.Errorf(gatekeeper.CodeUnavailable,
			"Move the data directory away and start with an empty one once no release is open; the old one keeps the record.",
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
