package etcd

import (
	"context"
	"crypto/rand"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// SecretSize is how many bytes a secret of the store has.
const SecretSize = 32

// Secret gives a random secret that all replicas share and that outlives a restart; the first who
// asks for a name makes it. Whoever may read the store may read it.
func Secret(ctx context.Context, client *clientv3.Client, name string) ([]byte, error) {
	key, fresh := secretRoot+name, make([]byte, SecretSize)
	_, _ = rand.Read(fresh) // it never fails (package crypto/rand)
	answer, err := client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, seal(key, fresh))).
		Else(clientv3.OpGet(key)).
		Commit()
	switch {
	case err != nil:
		return nil, unavailable("reading the secret "+name, err)
	case answer.Succeeded:
		return fresh, nil
	}
	return unseal(key, answer.Responses[0].GetResponseRange().Kvs[0].Value)
}
