package main

import (
	"context"
	"crypto/rand"

	"github.com/gatekeeper-engine/gatekeeper/internal/etcd"
)

// pictureKey gives what the addresses of pictures are signed with. A daemon that can't read it does its
// work all the same: the addresses that it gives out then end with the process.
func (d *daemon) pictureKey(ctx context.Context) []byte {
	key, err := etcd.Secret(ctx, d.store.Client(), "pictures")
	if err == nil {
		return key
	}
	d.log.Error("the key of pictures can't be read: addresses in older messages show nothing, and new ones do until a restart", "err", err)
	key = make([]byte, etcd.SecretSize)
	_, _ = rand.Read(key) // it never fails (package crypto/rand)
	return key
}
