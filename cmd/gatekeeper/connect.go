package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/client"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
)

const defaultURL = "http://127.0.0.1:9095"

// connection is how a command reaches the daemon.
type connection struct {
	url       string
	tokenFile string
	tls       httpclient.TLS
}

func (c *connection) flags(f *pflag.FlagSet) {
	f.StringVar(&c.url, "url", env("GATEKEEPER_URL", defaultURL), "address of the daemon (GATEKEEPER_URL)")
	f.StringVar(&c.tls.CAFile, "ca-file", os.Getenv("GATEKEEPER_CA_FILE"), "PEM file of the authorities to trust instead of the system's (GATEKEEPER_CA_FILE)")
	f.StringVar(&c.tls.CertFile, "cert-file", os.Getenv("GATEKEEPER_CERT_FILE"), "PEM file of the certificate to show (GATEKEEPER_CERT_FILE)")
	f.StringVar(&c.tls.KeyFile, "key-file", os.Getenv("GATEKEEPER_KEY_FILE"), "PEM file of its key (GATEKEEPER_KEY_FILE)")
	f.StringVar(&c.tokenFile, "token-file", os.Getenv("GATEKEEPER_TOKEN_FILE"), "file that holds the token (GATEKEEPER_TOKEN_FILE; or the token itself in GATEKEEPER_TOKEN)")
}

func (c *connection) dial() (*client.Client, error) {
	token := os.Getenv("GATEKEEPER_TOKEN")
	if c.tokenFile != "" {
		text, err := os.ReadFile(c.tokenFile)
		if err != nil {
			return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "name a file that holds the token and nothing else", "the token can't be read: %w", err)
		}
		token = string(text)
	}
	calls, err := httpclient.Config{URL: c.url, TLS: c.tls, ProxyFromEnvironment: true}.New("the daemon")
	if err != nil {
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, gatekeeper.HintOf(err), "the daemon can't be asked: %w", err)
	}
	return client.New(c.url, strings.TrimSpace(token), calls)
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// reason is on whose behalf something is asked, and why.
type reason struct{ actor, why string }

func (r *reason) flags(f *pflag.FlagSet) {
	f.StringVar(&r.actor, "actor", env("GATEKEEPER_ACTOR", os.Getenv("USER")), "on whose behalf, for the journal (GATEKEEPER_ACTOR)")
	f.StringVar(&r.why, "why", "", "the reason, for the journal")
}

func (r *reason) by() api.ByBody { return api.ByBody{Actor: r.actor, Why: r.why} }

// remote makes a command that asks the daemon.
func remote(cmd *cobra.Command, ask func(cmd *cobra.Command, c *client.Client, args []string) error) *cobra.Command {
	var c connection
	c.flags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		daemon, err := c.dial()
		if err != nil {
			return err
		}
		return ask(cmd, daemon, args)
	}
	return cmd
}
