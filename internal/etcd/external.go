package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	commoncfg "github.com/prometheus/common/config"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/secret"
)

// ExternalConfig says where an etcd runs that is not embedded, and how to be let in.
type ExternalConfig struct {
	Endpoints    []string `yaml:"endpoints"`     // http:// or https://host:port of its members
	TLS          TLS      `yaml:"tls"`           // for https
	Username     string   `yaml:"username"`      // of etcd's own authentication
	PasswordFile string   `yaml:"password_file"` // holds the password
	Prefix       string   `yaml:"prefix"`        // before every key, such as /team-a; default none
}

// TLS says whom to trust and what to show. Files hold PEM; the client's own are read again when
// they change.
type TLS struct {
	CAFile             string `yaml:"ca_file"`   // trusted instead of the system's
	CertFile           string `yaml:"cert_file"` // the client's own
	KeyFile            string `yaml:"key_file"`
	ServerName         string `yaml:"server_name"` // expected in the server's certificate
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify"`
}

// Validate says what is wrong with the settings, without touching a file or the network.
func (c ExternalConfig) Validate() error {
	if len(c.Endpoints) == 0 {
		return invalid("write them like https://etcd-1.example.com:2379; without store: Gatekeeper keeps its own", "the store has no endpoints")
	}
	for _, e := range c.Endpoints {
		u, err := url.Parse(e)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
			return invalid("write it like https://etcd-1.example.com:2379", "an endpoint of the store is no http:// or https://host:port") // it may hold a password
		case u.User != nil:
			return invalid("use username and password_file", "an endpoint of the store holds credentials")
		case c.Username != "" && u.Scheme == "http" && !loopback(u.Hostname()):
			return invalid("use https", "the endpoint %s would be sent the password for everybody on the way to read", e)
		case c.TLS != (TLS{}) && u.Scheme == "http":
			return invalid("write https://, or leave tls away", "the endpoint %s has no TLS to set up", e)
		}
	}
	switch {
	case (c.Username == "") != (c.PasswordFile == ""):
		return invalid("set both or none", "username and password_file belong together")
	case (c.TLS.CertFile == "") != (c.TLS.KeyFile == ""):
		return invalid("set both or none", "tls: cert_file and key_file belong together")
	case c.Prefix != "" && (!strings.HasPrefix(c.Prefix, "/") || strings.HasSuffix(c.Prefix, "/")):
		return invalid("write it like /team-a", "the prefix %q must begin with a slash and not end with one", c.Prefix)
	}
	return nil
}

func invalid(hint, format string, args ...any) error {
	return gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, "%s", fmt.Sprintf(format, args...))
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// client gives a client that has not connected yet.
func (c ExternalConfig) client(log *slog.Logger) (*clientv3.Client, error) {
	cfg := clientv3.Config{
		Endpoints: c.Endpoints, Username: c.Username,
		DialTimeout: answerWithin, DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: answerWithin,
		// By default gRPC would wait for up to two minutes before it tries a lost server again.
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: answerWithin,
		}), grpc.WithNoProxy()}, // of the environment: the endpoints are all that is connected to
		Logger: zap.New(&core{log: log, closing: func() bool { return false }}),
	}
	if c.PasswordFile != "" {
		password, err := secret.Read(c.PasswordFile)
		if err != nil {
			return nil, invalid(gatekeeper.HintOf(err), "the store's password can't be read: %v", err)
		}
		cfg.Password = password
	}
	if strings.HasPrefix(c.Endpoints[0], "https://") {
		var err error
		if cfg.TLS, err = c.TLS.config(); err != nil {
			return nil, err
		}
	}
	return clientv3.New(cfg)
}

func (t TLS) config() (*tls.Config, error) {
	c, err := commoncfg.NewTLSConfig(&commoncfg.TLSConfig{
		CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile,
		ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify,
	})
	if err != nil {
		return nil, invalid("check that the files under tls exist and hold PEM", "the store's TLS: %v", err)
	}
	return c, nil
}

// answerWithin is how long one call to an etcd that runs elsewhere may take.
const answerWithin = 5 * time.Second

// External is a connection to an etcd that runs elsewhere. It has the same journal as [Server],
// and survives the loss of the connection.
type External struct {
	client *clientv3.Client

	mu    sync.Mutex // guards what the latest probe said
	asked time.Time
	said  error
}

// Connect connects to an etcd and waits until it answers, or ctx ends. What can't change by
// waiting, such as a wrong password, is an error at once.
func Connect(ctx context.Context, cfg ExternalConfig, log *slog.Logger) (*External, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	for {
		x, err := cfg.connect(ctx, log)
		if err == nil {
			return x, nil
		}
		if final(err) || ctx.Err() != nil {
			return nil, unreachable(cfg.Endpoints, err)
		}
		log.Warn("the store can't be reached yet", "endpoints", cfg.Endpoints, "err", err)
		select {
		case <-ctx.Done():
			return nil, unreachable(cfg.Endpoints, err)
		case <-time.After(time.Second):
		}
	}
}

func (c ExternalConfig) connect(ctx context.Context, log *slog.Logger) (*External, error) {
	client, err := c.client(log)
	if err != nil {
		return nil, c.because(ctx, err)
	}
	client.KV = bounded{namespace.NewKV(client.KV, c.Prefix)}
	client.Watcher = namespace.NewWatcher(client.Watcher, c.Prefix)
	if _, err = client.Get(ctx, ownerKey, clientv3.WithKeysOnly()); err != nil {
		return nil, errors.Join(c.because(ctx, err), client.Close())
	}
	return &External{client: client}, nil
}

// because gives the reason for which no endpoint can be connected to, or else err: etcd's client
// only says that it waited for too long.
func (c ExternalConfig) because(ctx context.Context, err error) error {
	if final(err) {
		return err
	}
	if cause := c.reach(ctx); cause != nil {
		return cause
	}
	return err
}

// reach says why the endpoints can't be connected to; nil when one of them can.
func (c ExternalConfig) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	var errs []error
	for _, e := range c.Endpoints {
		err := c.greet(ctx, e)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", e, err))
	}
	return errors.Join(errs...)
}

// greet connects to an endpoint and waits for a moment whether it hangs up: a server tells only
// after the handshake that it does not take the client's certificate.
func (c ExternalConfig) greet(ctx context.Context, endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	if u.Scheme == "http" {
		return nil
	}
	settings, err := c.TLS.config()
	if err != nil {
		return err
	}
	if settings.ServerName == "" {
		settings.ServerName = u.Hostname()
	}
	settings.NextProtos = []string{"h2"}
	secured := tls.Client(conn, settings)
	if err := secured.HandshakeContext(ctx); err != nil {
		return err
	}
	if err := secured.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		return err
	}
	if _, err := secured.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// final says that an error will be the same again.
func final(err error) bool {
	for _, e := range []error{
		rpctypes.ErrAuthFailed, rpctypes.ErrAuthNotEnabled, rpctypes.ErrPermissionDenied, rpctypes.ErrUserEmpty,
		rpctypes.ErrAuthOldRevision, rpctypes.ErrInvalidAuthToken,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return gatekeeper.CodeOf(err) == gatekeeper.CodeInvalid
}

func unreachable(endpoints []string, err error) error {
	if gatekeeper.CodeOf(err) == gatekeeper.CodeInvalid || errors.Is(err, context.Canceled) {
		return err
	}
	return gatekeeper.Errorf(gatekeeper.CodeUnavailable, "See that the etcd runs, that its address, certificates and password are right, and that its user may read and write below /gatekeeper/v1/.",
		"the store at %s can't be used; %s: %w", strings.Join(endpoints, ", "), unstarted, err)
}

// Client gives the client of the store, whose keys are below the prefix. It belongs to x; don't
// close it.
func (x *External) Client() *clientv3.Client { return x.client }

// OpenJournal opens the journal in this store and takes it over from any earlier owner.
func (x *External) OpenJournal(ctx context.Context) (*Journal, error) {
	return OpenJournal(ctx, x.client)
}

// Failed is never closed: a lost connection comes back.
func (x *External) Failed() <-chan struct{} { return nil }

// probeEvery is how often [External.Ready] asks at most.
const probeEvery = time.Second

// Ready says whether the store answers, as it was at most a second ago: nil, or why not.
func (x *External) Ready() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if time.Since(x.asked) < probeEvery {
		return x.said
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := x.client.Get(ctx, ownerKey, clientv3.WithKeysOnly())
	if err != nil {
		err = unavailable("asking the store whether it answers", err)
	}
	x.asked, x.said = time.Now(), err
	return err
}

// Snapshot is refused: a snapshot of a cluster holds what others keep in it too.
func (x *External) Snapshot(context.Context) (io.ReadCloser, error) {
	return nil, gatekeeper.Errorf(gatekeeper.CodeRefused, "Use etcdctl snapshot save on the cluster; gatekeeper store verify --config FILE checks what Gatekeeper keeps in it.",
		"the store is an etcd cluster of its own, which may hold more than Gatekeeper's keys")
}

// Close ends the connection.
func (x *External) Close() error {
	if err := x.client.Close(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// bounded ends calls that are not answered: the client would wait and try for as long as its
// context lives.
type bounded struct{ clientv3.KV }

// Get reads.
func (b bounded) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return b.KV.Get(ctx, key, opts...)
}

// Put writes.
func (b bounded) Put(ctx context.Context, key, value string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return b.KV.Put(ctx, key, value, opts...)
}

// Txn begins a transaction, which is bounded from now on.
func (b bounded) Txn(ctx context.Context) clientv3.Txn {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	return &boundedTxn{b.KV.Txn(ctx), cancel}
}

type boundedTxn struct {
	clientv3.Txn
	cancel context.CancelFunc
}

// If adds conditions.
func (t *boundedTxn) If(cs ...clientv3.Cmp) clientv3.Txn {
	t.Txn = t.Txn.If(cs...)
	return t
}

// Then adds operations.
func (t *boundedTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	t.Txn = t.Txn.Then(ops...)
	return t
}

// Else adds operations.
func (t *boundedTxn) Else(ops ...clientv3.Op) clientv3.Txn {
	t.Txn = t.Txn.Else(ops...)
	return t
}

// Commit runs the transaction.
func (t *boundedTxn) Commit() (*clientv3.TxnResponse, error) {
	defer t.cancel()
	return t.Txn.Commit()
}
