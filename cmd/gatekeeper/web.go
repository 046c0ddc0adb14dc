package main

import (
	"github.com/gatekeeper-engine/gatekeeper/internal/config"
	"github.com/gatekeeper-engine/gatekeeper/internal/webconfig"
)

// readWebConfig reads the file that says how the daemon is served, and tells what is wrong with it.
func readWebConfig(cfg *config.Config) webconfig.File {
	at := cfg.At.Child("web_config_file")
	f, err := webconfig.Read(cfg.WebConfigFile)
	switch {
	case err != nil:
		at.Check(err)
	case f.Users && len(cfg.Tokens) > 0:
		at.Wrong("remove basic_auth_users or tokens", "users and tokens are both sent in the header Authorization, so there can't be both")
	case cfg.WebConfigFile != "" && cfg.OpenToOthers() && len(cfg.Tokens) == 0 && !f.Authenticates():
		at.Wrong("add basic_auth_users or client_auth_type: RequireAndVerifyClientCert to it, or configure tokens",
			"listen %q is open to other machines, and anybody there could roll back your releases: the file asks nobody who they are", cfg.Listen)
	}
	if f.TLS && cfg.ExternalURL == "http://"+cfg.Listen { // the default
		cfg.ExternalURL = "https://" + cfg.Listen
	}
	return f
}
