package etcd

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/journaltest"
)

func start(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Options{Dir: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func openIn(t *testing.T, s *Server) *Journal {
	t.Helper()
	j, err := s.OpenJournal(t.Context())
	require.NoError(t, err)
	return j
}

func noted(text string) gatekeeper.Fact {
	return gatekeeper.Fact{At: time.Now(), Body: gatekeeper.Noted{Text: text}}
}

func commit(j gatekeeper.Journal, t *testing.T, id string, after int64, text string) error {
	return j.Commit(t.Context(), gatekeeper.Entry{Release: id, After: after, Facts: []gatekeeper.Fact{noted(text)}})
}

func TestJournal(t *testing.T) {
	journaltest.Run(t, func(t *testing.T) journaltest.Setup {
		dir := t.TempDir()
		s := start(t, dir)
		j := openIn(t, s)
		return journaltest.Setup{
			Journal:  j,
			TakeOver: func(t *testing.T) gatekeeper.Journal { return openIn(t, s) },
			Reopen: func(t *testing.T) gatekeeper.Journal {
				require.NoError(t, s.Close())
				return openIn(t, start(t, dir))
			},
			Forget: func(t *testing.T) {
				resp, err := s.Client().Get(t.Context(), ownerKey)
				require.NoError(t, err)
				_, err = s.Client().Compact(t.Context(), resp.Header.Revision)
				require.NoError(t, err)
			},
			Damage: func(t *testing.T, hash string) {
				key := chunkKey(hash, 0)
				resp, err := s.Client().Get(t.Context(), key)
				require.NoError(t, err)
				value := resp.Kvs[0].Value
				value[0] ^= 1
				_, err = s.Client().Put(t.Context(), key, string(value))
				require.NoError(t, err)
			},
			Backlog: Backlog,
		}
	})
}

func TestJournalOfAnyClient(t *testing.T) {
	s := start(t, t.TempDir())
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + filepath.Join(s.run, "client")}, DialTimeout: 5 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	j, err := OpenJournal(t.Context(), client)
	require.NoError(t, err)
	require.NoError(t, commit(j, t, "r", 0, "over a socket"))
	_, err = j.Facts(t.Context(), "r")
	require.NoError(t, err)
	require.NoError(t, commit(openIn(t, s), t, "r", 1, "the new owner"))
	require.ErrorIs(t, commit(j, t, "r", 2, "too late"), gatekeeper.ErrFenced)
}

func TestCorruptedFactsFailClosed(t *testing.T) {
	facts := func(key string, change func([]byte) string) func(*testing.T, *clientv3.Client) {
		return func(t *testing.T, c *clientv3.Client) {
			resp, err := c.Get(t.Context(), key)
			require.NoError(t, err)
			_, err = c.Put(t.Context(), key, change(resp.Kvs[0].Value))
			require.NoError(t, err)
		}
	}
	for name, damage := range map[string]func(*testing.T, *clientv3.Client){
		"a flipped bit in a text": facts(factsKey("r", 2), func(v []byte) string { return strings.Replace(string(v), "second", "secone", 1) }),
		"a cut value":             facts(factsKey("r", 2), func(v []byte) string { return string(v[:3]) }),
		"another fact's record":   facts(factsKey("r", 2), func([]byte) string { return seal(factsKey("r", 2), []byte(`[{"seq":1,"kind":"noted","body":{}}]`)) }),
		"an unknown kind":         facts(factsKey("r", 2), func([]byte) string { return seal(factsKey("r", 2), []byte(`[{"seq":2,"kind":"dreamt","body":{}}]`)) }),
		"a changed last number":   facts(lastKey("r"), func([]byte) string { return sealNumber(lastKey("r"), 4) }),
		"a lost record": func(t *testing.T, c *clientv3.Client) {
			_, err := c.Delete(t.Context(), factsKey("r", 3))
			require.NoError(t, err)
		},
		"a lost record in the middle": func(t *testing.T, c *clientv3.Client) {
			_, err := c.Delete(t.Context(), factsKey("r", 2))
			require.NoError(t, err)
		},
		"a lost last number": func(t *testing.T, c *clientv3.Client) {
			_, err := c.Delete(t.Context(), lastKey("r"))
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, t.TempDir())
			j := openIn(t, s)
			for i, text := range []string{"first", "second", "third"} {
				require.NoError(t, commit(j, t, "r", int64(i), text))
			}
			_, err := j.Facts(t.Context(), "r")
			require.NoError(t, err)
			damage(t, s.Client())
			got, err := j.Facts(t.Context(), "r")
			require.Equal(t, gatekeeper.CodeInternal, gatekeeper.CodeOf(err))
			require.ErrorContains(t, err, "corrupted")
			require.NotEmpty(t, gatekeeper.HintOf(err))
			require.Empty(t, got)
		})
	}
}
