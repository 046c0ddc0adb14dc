// Package config reads the daemon's configuration: one YAML file, strictly. Everything that is
// wrong with it is told at once, with its position, a caret and a hint; a key that a later
// version brings is refused as "not supported yet". Without a file the defaults serve one machine.
//
// Settings that belong to one technology stay a [Section] here; who knows the technology decodes
// them, by the same rules. Secrets are named by file or as env:NAME, never written down. Every key that
// ends in _file, _files or _dir is a path; a relative one starts at the configuration's folder.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/robfig/cron/v3"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Config is the daemon's configuration. It is read by one goroutine and does not change after
// [Config.Err] was asked.
type Config struct {
	Listen         string                `yaml:"listen"`          // host:port; default 127.0.0.1:9095
	WebConfigFile  string                `yaml:"web_config_file"` // TLS, client certificates and basic auth, as Prometheus's --web.config.file
	ExternalURL    string                `yaml:"external_url"`    // how people reach the daemon; default http:// and Listen
	DataDir        string                `yaml:"data_dir"`        // of the journal and the embedded metrics; see [DefaultDataDir]
	Store          *Section              `yaml:"store"`           // how long it keeps releases, and an etcd that runs elsewhere; default: one embedded, in DataDir
	HealthFiles    string                `yaml:"health_files"`    // folder of health files that releases may name; "": none
	Backends       map[string]Backend    `yaml:"backends"`        // metric backends by name; default one embedded, "local"
	DefaultBackend string                `yaml:"default_backend"` // of health files that name none; default the only one
	Connections    map[string]Connection `yaml:"connections"`     // by name; "flags", the built-in flag store, is there unless the name is taken
	Plans          map[string]Plan       `yaml:"plans"`           // rollback plans by name
	Alertmanagers  []Section             `yaml:"alertmanagers"`   // that are told of holds, failures and rollbacks
	Notifications  Notifications         `yaml:"notifications"`   // who else is told, and of what
	Webhooks       []Webhook             `yaml:"webhooks"`        // senders of signed requests
	Tokens         []Token               `yaml:"tokens"`          // who may do what; none: only this machine, everything
	Policy         *Policy               `yaml:"policy"`          // who may open what, and with which rungs; none: everybody everything
	Guards         Guards                `yaml:"guards"`
	QueryTimeout   model.Duration        `yaml:"query_timeout"`  // deadline of one query; default 10s
	ActionTimeout  model.Duration        `yaml:"action_timeout"` // deadline of one Prepare, Apply or Observe; default 30s
	Log            Log                   `yaml:"log"`
	Tracing        *Section              `yaml:"tracing"` // the collector of OpenTelemetry traces; default: none are made

	Path string  `yaml:"-"` // of the file; "": the defaults
	At   Section `yaml:"-"`
}

// Backend is a metric backend: exactly one of its kinds is set.
type Backend struct {
	Prometheus *Section `yaml:"prometheus"` // any Prometheus-compatible HTTP API
	TSDB       *Section `yaml:"tsdb"`       // embedded: scraped and kept in the process

	At Section `yaml:"-"`
}

// Token is a client with what it may do.
type Token struct {
	Name      string           `yaml:"name"`
	Scopes    []string         `yaml:"scopes"`
	Services  gatekeeper.Globs `yaml:"services"`   // only releases of these; empty: all, and what belongs to no service
	TokenHash string           `yaml:"token_hash"` // of the secret, as `gatekeeper token new` prints it; or
	TokenFile string           `yaml:"token_file"` // holds the secret

	At Section `yaml:"-"`
}

// Guards are what stands between a breach and a rollback for every release.
type Guards struct {
	KillSwitchFile string           `yaml:"kill_switch_file"` // while it exists every rollback is held; default in DataDir
	DryRun         bool             `yaml:"dry_run"`          // for every release
	DryRunServices gatekeeper.Globs `yaml:"dry_run_services"` // for these services
	CoolDown       model.Duration   `yaml:"cool_down"`        // after a rollback; default 0: only while rules still see its harm
	Freezes        []Freeze         `yaml:"freezes"`
}

// Freeze is a time in which no release may be opened.
type Freeze struct {
	Name          string           `yaml:"name"`
	Schedule      string           `yaml:"schedule"` // cron; its beginning
	Duration      model.Duration   `yaml:"duration"`
	TimeZone      string           `yaml:"time_zone"` // IANA name; default UTC
	Services      gatekeeper.Globs `yaml:"services"`  // empty: every service
	HoldRollbacks bool             `yaml:"hold_rollbacks"`

	At Section `yaml:"-"`
}

// Log says what is logged, to standard error.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error; default info
	Format string `yaml:"format"` // text or json; default text

	At Section `yaml:"-"`
}

// Read reads the file at path; "" gives the defaults. The error is for a file that can't be read;
// what is wrong in it is told by [Config.Err], after the sections have been decoded.
func Read(path string) (*Config, error) {
	if path == "" {
		return Parse("gatekeeper.yml", ".", ""), nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		hint := "give the path of the daemon's configuration to --config"
		if errors.Is(err, fs.ErrPermission) {
			hint = "let the daemon's user read it"
		}
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, "the configuration can't be read: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	c := Parse(path, dir, string(text))
	c.Path = path
	return c, nil
}

// Parse reads a configuration from text; relative paths in it start at dir.
func Parse(name, dir, text string) *Config {
	c := &Config{
		Listen: "127.0.0.1:9095", DataDir: DefaultDataDir(),
		QueryTimeout: model.Duration(10 * time.Second), ActionTimeout: model.Duration(30 * time.Second),
		Log: Log{Level: "info", Format: "text"},
	}
	d := &document{name: name, dir: dir, text: text}
	root := d.parse()
	c.At = Section{doc: d, node: root}
	if root != nil {
		d.value(root, value(c), "the configuration")
	}
	c.fill()
	c.check()
	return c
}

// DefaultDataDir is systemd's state directory if there is one, else the user's own
// (https://specifications.freedesktop.org/basedir-spec), for root /var/lib.
func DefaultDataDir() string {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "gatekeeper")
	}
	if home, err := os.UserHomeDir(); err == nil && os.Geteuid() != 0 {
		return filepath.Join(home, ".local", "state", "gatekeeper")
	}
	return "/var/lib/gatekeeper"
}

func (c *Config) fill() {
	if c.ExternalURL == "" {
		c.ExternalURL = "http://" + c.Listen
	}
	if c.Guards.KillSwitchFile == "" {
		c.Guards.KillSwitchFile = filepath.Join(c.DataDir, "kill-switch")
	}
	if len(c.Backends) == 0 {
		c.Backends = map[string]Backend{"local": {TSDB: &Section{doc: c.At.doc}}}
	}
	if _, taken := c.Connections["flags"]; !taken {
		if c.Connections == nil {
			c.Connections = map[string]Connection{}
		}
		c.Connections["flags"] = Connection{Kind: "flags", Settings: json.RawMessage("{}"), At: Section{doc: c.At.doc}}
	}
	if c.DefaultBackend == "" && len(c.Backends) == 1 {
		for name := range c.Backends {
			c.DefaultBackend = name
		}
	}
}

// check tells what is wrong beyond types and keys.
func (c *Config) check() {
	c.checkListen()
	if u, err := url.Parse(c.ExternalURL); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		c.At.Child("external_url").Wrong("write it like https://gatekeeper.example.com", "external_url %q is no http or https address", c.ExternalURL)
	}
	for _, name := range sortedKeys(c.Backends) {
		b := c.Backends[name]
		if (b.Prometheus == nil) == (b.TSDB == nil) {
			b.At.Wrong("give it prometheus: or tsdb:", "backend %q must have exactly one kind", name)
		}
	}
	if _, ok := c.Backends[c.DefaultBackend]; !ok {
		at := c.At.Child("default_backend")
		if c.DefaultBackend == "" {
			at.Wrong("health files that name no backend need to know which", "there are several backends, so default_backend must name one of %s", strings.Join(sortedKeys(c.Backends), ", "))
		} else {
			at.Wrong("", "there is no backend %q%s", c.DefaultBackend, actions.Suggest(c.DefaultBackend, sortedKeys(c.Backends)))
		}
	}
	c.checkTokens()
	c.checkPolicy()
	c.checkWebhooks()
	c.checkDurations()
	oneOf(c.Log.At, "level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf(c.Log.At, "format", c.Log.Format, "text", "json")
}

func (c *Config) checkListen() {
	at := c.At.Child("listen")
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil || port == "" {
		at.Wrong("write it like 127.0.0.1:9095", "listen %q is no host:port", c.Listen)
		return
	}
	if !loopback(host) && len(c.Tokens) == 0 && c.WebConfigFile == "" {
		at.Wrong("configure tokens, a web_config_file with client certificates or users, or listen on 127.0.0.1",
			"listen %q is open to other machines, and without tokens anybody there could roll back your releases", c.Listen)
	}
}

// OpenToOthers says whether other machines can reach the address.
func (c *Config) OpenToOthers() bool {
	host, _, err := net.SplitHostPort(c.Listen)
	return err == nil && !loopback(host)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func (c *Config) checkDurations() {
	positive(c.At, "query_timeout", c.QueryTimeout)
	positive(c.At, "action_timeout", c.ActionTimeout)
	c.At.Child("guards").Child("dry_run_services").Check(c.Guards.DryRunServices.Err())
	for _, f := range c.Guards.Freezes {
		if f.Name == "" || f.Schedule == "" {
			f.At.Wrong("", "a freeze needs a name and a schedule")
		}
		if _, err := cron.ParseStandard(f.Schedule); err != nil && f.Schedule != "" {
			f.At.Child("schedule").Wrong(`write five cron fields, such as "0 17 * * FRI"`, "freeze %q: %v", f.Name, err)
		}
		f.At.Child("services").Check(f.Services.Err())
		if f.Duration <= 0 {
			f.At.Wrong("the schedule says only when it begins", "freeze %q needs a duration above zero", f.Name)
		}
		if _, err := time.LoadLocation(f.TimeZone); err != nil {
			f.At.Child("time_zone").Wrong("write it like Europe/Berlin", "freeze %q: time zone %q is not known", f.Name, f.TimeZone)
		}
	}
}

func positive(at Section, key string, d model.Duration) {
	if d <= 0 {
		at.Child(key).Wrong("", "%s must be above zero", key)
	}
}

func oneOf(at Section, key, got string, want ...string) {
	for _, w := range want {
		if got == w {
			return
		}
	}
	at.Child(key).Wrong("", "%s can't be %q%s", key, got, actions.Suggest(got, want))
}

// Err gives everything that is wrong, with what the sections' decoding added, as a [*Broken].
func (c *Config) Err() error {
	d := c.At.doc
	if len(d.problems) == 0 {
		return nil
	}
	return &Broken{Problems: d.sorted(), Source: rules.Bundle{Name: d.name, File: d.text}}
}

// Unread says whether the text is not one YAML document, so that nothing of it is known.
func (c *Config) Unread() bool { return c.At.node == nil && c.At.doc.text != "" && c.Err() != nil }

// Broken is a configuration that can't be used.
type Broken struct {
	Problems rules.Problems
	Source   rules.Bundle // of the positions
}

// Error gives one line per problem.
func (b *Broken) Error() string {
	return fmt.Sprintf("the configuration can't be used:\n%v", b.Problems)
}

// Unwrap gives the problems.
func (b *Broken) Unwrap() error { return b.Problems }
