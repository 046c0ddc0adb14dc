package etcd

import (
	"fmt"
	"hash/crc32"
	"math"
	"net/url"
	"strconv"
	"strings"
)

// The keys of the journal. A release's id is escaped, so it is one segment whatever it holds.
//
//	owner              the token of the present owner; its revision is the epoch
//	newest             the release that was opened last; its revision is when
//	last/ID            sequence number of the release's last fact
//	place/ID           its place in the listings, given when its first fact is written
//	facts/ID/SEQ       the facts of one commit, SEQ being the first's number
//	releases/PLACE/ID  every release; places sort newest first
//	open/PLACE/ID      those that are not closed
//	files/HASH         how many chunks a file has; written after them
//	chunks/HASH/N      the chunks
//	secrets/NAME       random bytes that all replicas share, see [Secret]
const (
	root        = "/gatekeeper/v1/"
	chunksRoot  = root + "chunks/"
	filesRoot   = root + "files/"
	lastRoot    = root + "last/"
	placeRoot   = root + "place/"
	ownerKey    = root + "owner"
	newestKey   = root + "newest"
	factsRoot   = root + "facts/"
	releaseRoot = root + "releases/"
	openRoot    = root + "open/"
	secretRoot  = root + "secrets/"
)

func lastKey(id string) string  { return lastRoot + url.PathEscape(id) }
func placeKey(id string) string { return placeRoot + url.PathEscape(id) }

func factsPrefix(id string) string { return factsRoot + url.PathEscape(id) + "/" }

func factsKey(id string, first int64) string { return fmt.Sprintf("%s%019d", factsPrefix(id), first) }

func listKey(under, place, id string) string { return under + place + "/" + url.PathEscape(id) }

func fileKey(hash string) string { return filesRoot + hash }

func chunksPrefix(hash string) string { return chunksRoot + hash + "/" }

func chunkKey(hash string, n int) string { return fmt.Sprintf("%s%04d", chunksPrefix(hash), n) }

// placeOf orders releases by the journal's revision when they began and, within one commit, by
// their position; both counted backwards so that the newest is the first in key order.
func placeOf(revision int64, position int) string {
	return fmt.Sprintf("%019d.%03d", math.MaxInt64-revision, 999-position)
}

// idOfList gives the release of a key under releases/ or open/.
func idOfList(key string) (string, error) {
	return url.PathUnescape(key[strings.LastIndexByte(key, '/')+1:])
}

// idOfFacts gives the release and the first sequence number of a key under facts/.
func idOfFacts(key string) (id string, first int64, err error) {
	escaped, seq, ok := strings.Cut(strings.TrimPrefix(key, factsRoot), "/")
	if !ok {
		return "", 0, fmt.Errorf("no sequence number")
	}
	if id, err = url.PathUnescape(escaped); err != nil {
		return "", 0, err
	}
	first, err = strconv.ParseInt(seq, 10, 64)
	return id, first, err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal puts a checksum over key and body before the body: bbolt has none over its data pages, and
// a flipped bit in a number would still be JSON.
func seal(key string, body []byte) string { return checksum(key, body) + string(body) }

// unseal gives the body of a sealed value.
func unseal(key string, value []byte) ([]byte, error) {
	body, err := bodyOf(key, value)
	if err != nil {
		return nil, corrupted(key, err)
	}
	return body, nil
}

// bodyOf gives the body of a sealed value, or what is wrong with its seal.
func bodyOf(key string, value []byte) ([]byte, error) {
	if len(value) < 8 {
		return nil, fmt.Errorf("it is %d bytes long", len(value))
	}
	body := value[8:]
	if sum := checksum(key, body); sum != string(value[:8]) {
		return nil, fmt.Errorf("its checksum is %q, its content's %q", value[:8], sum)
	}
	return body, nil
}

func checksum(key string, body []byte) string {
	return fmt.Sprintf("%08x", crc32.Update(crc32.Checksum([]byte(key), castagnoli), castagnoli, body))
}
