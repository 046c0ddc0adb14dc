package etcd

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Journal keeps the facts of releases in an etcd, embedded or not. It implements
// [gatekeeper.Journal]; its methods may be called concurrently.
//
// Every write is one transaction on the condition that the journal still is the owner: the one
// who opened it last. A deposed owner's writes get [gatekeeper.ErrFenced]; it may still read.
type Journal struct {
	client *clientv3.Client
	server *Server      // nil for an etcd that runs elsewhere
	epoch  int64        // the revision of the owner key when it was claimed
	seen   atomic.Int64 // the highest revision that the store told of
}

var _ gatekeeper.Journal = (*Journal)(nil)

// OpenJournal opens the journal kept by the etcd behind client and takes it over from any earlier
// owner. The caller goes on owning client, and closes it after the last use of the journal.
func OpenJournal(ctx context.Context, client *clientv3.Client) (*Journal, error) {
	return open(ctx, client, nil)
}

// ReadJournal gives the journal kept by the etcd behind client, to read only: it is not taken over,
// and every write to it is refused.
func ReadJournal(client *clientv3.Client) *Journal { return &Journal{client: client, epoch: -1} }

func open(ctx context.Context, client *clientv3.Client, server *Server) (*Journal, error) {
	j := &Journal{client: client, server: server}
	resp, err := call(ctx, server, func(ctx context.Context) (*clientv3.PutResponse, error) {
		return client.Put(ctx, ownerKey, rand.Text())
	})
	if err != nil {
		return nil, unavailable("taking over the journal", err)
	}
	j.epoch = resp.Header.Revision
	j.saw(resp.Header.Revision)
	return j, nil
}

// saw remembers the highest revision.
func (j *Journal) saw(revision int64) {
	for {
		old := j.seen.Load()
		if revision <= old || j.seen.CompareAndSwap(old, revision) {
			return
		}
	}
}

func (j *Journal) owned() clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(ownerKey), "=", j.epoch)
}

// txn runs a transaction that is not conditional.
func (j *Journal) txn(ctx context.Context, doing string, ops ...clientv3.Op) (*clientv3.TxnResponse, error) {
	resp, err := call(ctx, j.server, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return j.client.Txn(ctx).Then(ops...).Commit()
	})
	if err != nil {
		return nil, unavailable(doing, err)
	}
	j.saw(resp.Header.Revision)
	return resp, nil
}

// Commit appends all entries or none.
func (j *Journal) Commit(ctx context.Context, entries ...gatekeeper.Entry) error {
	records, err := gatekeeper.Records(entries)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return ctx.Err()
	}
	conds := []clientv3.Cmp{j.owned()}
	var then []clientv3.Op
	opens := ""
	var headers []clientv3.Op // of the files that the commit pins
	for i, e := range entries {
		cond, ops, err := j.appendTo(ctx, e, records[i], i)
		if err != nil {
			return err
		}
		conds, then = append(conds, cond), append(then, ops...)
		if e.After == 0 {
			opens = e.Release
		}
		for _, hash := range pins(e.Facts) {
			conds = append(conds, clientv3.Compare(clientv3.CreateRevision(fileKey(hash)), ">", 0))
			headers = append(headers, clientv3.OpGet(fileKey(hash), clientv3.WithCountOnly()))
		}
	}
	if opens != "" {
		then = append(then, clientv3.OpPut(newestKey, seal(newestKey, []byte(opens))))
	}
	doing := "writing to the journal of release " + entries[0].Release
	resp, err := j.write(ctx, doing, conds, then, headers...)
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return refused(doing, resp)
	}
	return nil
}

// refused says why a commit was: a file that it pins is gone, or else the journal has moved on.
func refused(doing string, resp *clientv3.TxnResponse) error {
	for _, header := range resp.Responses[1:] {
		if header.GetResponseRange().Count == 0 {
			return gatekeeper.Errorf(gatekeeper.CodeUnavailable, "Do it again: the file is stored again then.",
				"%s: nothing was written, for the file that it pins is not in the store any more: no other release had pinned it", doing)
		}
	}
	return fmt.Errorf("%s: %w", doing, gatekeeper.ErrConflict)
}

// write runs a transaction on conditions, the first of which is to own the journal. Where it does
// not succeed, the answer to otherwise follows that of the owner.
func (j *Journal) write(ctx context.Context, doing string, conds []clientv3.Cmp, then []clientv3.Op, otherwise ...clientv3.Op) (*clientv3.TxnResponse, error) {
	if j.server != nil {
		if err := j.server.room(); err != nil {
			return nil, err
		}
	}
	resp, err := call(ctx, j.server, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return j.client.Txn(ctx).If(conds...).Then(then...).Else(append([]clientv3.Op{clientv3.OpGet(ownerKey)}, otherwise...)...).Commit()
	})
	if err != nil {
		return nil, unavailable(doing, err)
	}
	j.saw(resp.Header.Revision)
	if resp.Succeeded {
		return resp, nil
	}
	owner := resp.Responses[0].GetResponseRange().Kvs
	if len(owner) == 0 || owner[0].ModRevision != j.epoch {
		return nil, fmt.Errorf("%s: %w", doing, gatekeeper.ErrFenced)
	}
	return resp, nil
}

// appendTo gives the condition and the operations of one entry.
func (j *Journal) appendTo(ctx context.Context, e gatekeeper.Entry, record []byte, position int) (clientv3.Cmp, []clientv3.Op, error) {
	closes := false
	for _, f := range e.Facts {
		closes = closes || f.Body.Kind() == gatekeeper.KindClosed
	}
	key, last := factsKey(e.Release, e.After+1), lastKey(e.Release)
	ops := []clientv3.Op{
		clientv3.OpPut(key, seal(key, record)),
		clientv3.OpPut(last, sealNumber(last, e.After+int64(len(e.Facts)))),
	}
	if e.After == 0 {
		place := placeOf(j.seen.Load(), position)
		ops = append(ops, clientv3.OpPut(placeKey(e.Release), place),
			clientv3.OpPut(listKey(releaseRoot, place, e.Release), ""))
		if !closes {
			ops = append(ops, clientv3.OpPut(listKey(openRoot, place, e.Release), ""))
		}
		return clientv3.Compare(clientv3.CreateRevision(last), "=", 0), ops, nil
	}
	if closes {
		place, err := j.place(ctx, e.Release)
		if err != nil {
			return clientv3.Cmp{}, nil, err
		}
		ops = append(ops, clientv3.OpDelete(listKey(openRoot, place, e.Release)))
	}
	return clientv3.Compare(clientv3.Value(last), "=", sealNumber(last, e.After)), ops, nil
}

// place gives a release's place in the listings; "" when it has none, for then the commit fails
// on its other condition.
func (j *Journal) place(ctx context.Context, id string) (string, error) {
	resp, err := j.txn(ctx, "reading the journal of release "+id, clientv3.OpGet(placeKey(id)))
	if err != nil {
		return "", err
	}
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 {
		return string(kvs[0].Value), nil
	}
	return "", nil
}

func sealNumber(key string, n int64) string { return seal(key, strconv.AppendInt(nil, n, 10)) }

// Facts gives a release's facts in order, each record checked against its checksum and the
// release's last sequence number: one missing fact would give a wrong release.
func (j *Journal) Facts(ctx context.Context, id string) ([]gatekeeper.Fact, error) {
	last := lastKey(id)
	resp, err := j.txn(ctx, "reading the journal of release "+id,
		clientv3.OpGet(last), clientv3.OpGet(factsPrefix(id), clientv3.WithPrefix()))
	if err != nil {
		return nil, err
	}
	end, records := resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs
	if len(end) == 0 && len(records) == 0 {
		return nil, fmt.Errorf("release %s: %w", id, gatekeeper.ErrNotFound)
	}
	var facts []gatekeeper.Fact
	for _, kv := range records {
		more, err := decode(string(kv.Key), kv.Value, int64(len(facts))+1)
		if err != nil {
			return nil, err
		}
		facts = append(facts, more...)
	}
	if len(end) == 0 || string(end[0].Value) != sealNumber(last, int64(len(facts))) {
		return nil, corrupted(last, fmt.Errorf("it does not agree with the %d facts that are there", len(facts)))
	}
	return facts, nil
}

func decode(key string, value []byte, first int64) ([]gatekeeper.Fact, error) {
	body, err := unseal(key, value)
	if err != nil {
		return nil, err
	}
	facts, err := gatekeeper.DecodeRecord(body, first)
	if err != nil {
		return nil, corrupted(key, err)
	}
	return facts, nil
}

// List gives the ids of releases, newest first.
func (j *Journal) List(ctx context.Context, q gatekeeper.Listing) ([]string, error) {
	if q.Limit < 1 || q.Limit > 1000 {
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "a listing takes a limit from 1 to 1000, not %d", q.Limit)
	}
	under := releaseRoot
	if q.Open {
		under = openRoot
	}
	from := under
	if q.After != "" {
		place, err := j.place(ctx, q.After)
		if err != nil {
			return nil, err
		}
		if place == "" {
			return nil, fmt.Errorf("release %s: %w", q.After, gatekeeper.ErrNotFound)
		}
		from = listKey(under, place, q.After) + "\x00"
	}
	resp, err := j.txn(ctx, "listing releases", clientv3.OpGet(from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(under)),
		clientv3.WithKeysOnly(), clientv3.WithLimit(int64(q.Limit))))
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		id, err := idOfList(string(kv.Key))
		if err != nil {
			return nil, corrupted(string(kv.Key), err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// call runs f, but does not wait for it longer than ctx and the server live: an in-process etcd
// whose disk failed may never answer.
func call[R any](ctx context.Context, s *Server, f func(context.Context) (R, error)) (R, error) {
	if s == nil {
		return f(ctx)
	}
	type answer struct {
		r   R
		err error
	}
	done := make(chan answer, 1)
	var none R
	if err := s.broken(); err != nil {
		return none, err
	}
	go func() {
		r, err := f(ctx)
		done <- answer{r, err}
	}()
	select {
	case a := <-done:
		return a.r, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-s.failed:
		return none, s.broken()
	}
}
