package etcd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gatekeeper-engine/gatekeeper"
)

// chunk is the size of the pieces in which a file is stored, in bytes: below the limit of a
// request on any etcd (1.5 MiB by default).
const chunk = 512 << 10

// PutFile stores content under its hash. The header is written after the chunks, so a file is
// there whole or not at all.
func (j *Journal) PutFile(ctx context.Context, content []byte) (string, error) {
	if len(content) > gatekeeper.MaxFile {
		return "", gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "a file of %d bytes is too large for the journal, which takes %d", len(content), gatekeeper.MaxFile)
	}
	hash := hashOf(content)
	header := fileKey(hash)
	doing := "storing file " + hash
	absent := clientv3.Compare(clientv3.CreateRevision(header), "=", 0)
	chunks := 0
	for rest := content; len(rest) > 0; chunks++ {
		piece := rest[:min(chunk, len(rest))]
		rest = rest[len(piece):]
		resp, err := j.write(ctx, doing, []clientv3.Cmp{j.owned(), absent},
			[]clientv3.Op{clientv3.OpPut(chunkKey(hash, chunks), string(piece))})
		if err != nil {
			return "", err
		}
		if !resp.Succeeded { // it is there already
			return hash, nil
		}
	}
	_, err := j.write(ctx, doing, []clientv3.Cmp{j.owned(), absent},
		[]clientv3.Op{clientv3.OpPut(header, sealNumber(header, int64(chunks)))})
	if err != nil {
		return "", err
	}
	return hash, nil
}

// File gives the content stored under hash, or an error when it is not what was put.
func (j *Journal) File(ctx context.Context, hash string) ([]byte, error) {
	header := fileKey(hash)
	resp, err := j.txn(ctx, "reading file "+hash,
		clientv3.OpGet(header), clientv3.OpGet(chunksPrefix(hash), clientv3.WithPrefix()))
	if err != nil {
		return nil, err
	}
	head := resp.Responses[0].GetResponseRange().Kvs
	if len(head) == 0 {
		return nil, fmt.Errorf("file %s: %w", hash, gatekeeper.ErrNotFound)
	}
	number, err := unseal(header, head[0].Value)
	if err != nil {
		return nil, err
	}
	want, err := strconv.Atoi(string(number))
	if err != nil {
		return nil, corrupted(header, err)
	}
	chunks := resp.Responses[1].GetResponseRange().Kvs
	if len(chunks) != want {
		return nil, corrupted(header, fmt.Errorf("%d of %d chunks are there", len(chunks), want))
	}
	var content []byte
	for _, kv := range chunks {
		content = append(content, kv.Value...)
	}
	if got := hashOf(content); got != hash {
		return nil, corrupted(header, fmt.Errorf("its content has the hash %s", got))
	}
	return content, nil
}

func hashOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
