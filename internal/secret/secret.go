// Package secret reads secrets by what names them: a file, or a variable of the daemon's environment.
package secret

import (
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper"
)

// maxSecret is how many bytes a secret has at most.
const maxSecret = 4 << 10

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Variable gives the environment variable that a reference names, as in env:SLACK_TOKEN; false where it
// names a file.
func Variable(reference string) (name string, ok bool) { return strings.CutPrefix(reference, "env:") }

// Read gives the secret that a reference names, without the space around it: the content of a file, or
// for env:NAME the value of an environment variable. Errors name the reference and never the secret.
func Read(reference string) (string, error) {
	name, ok := Variable(reference)
	if !ok {
		return readFile(reference)
	}
	if !variable.MatchString(name) {
		return "", gatekeeper.Errorf(gatekeeper.CodeInvalid, "write env:NAME, as in env:SLACK_TOKEN", "%q names no environment variable", reference)
	}
	value := strings.TrimSpace(os.Getenv(name))
	switch {
	case value == "":
		return "", gatekeeper.Errorf(gatekeeper.CodeInvalid, "set it for the daemon, or name a file", "the environment variable %s is empty or not set: there is no secret in it", name)
	case len(value) > maxSecret:
		return "", gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "the environment variable %s is larger than %d bytes: it holds no secret", name, maxSecret)
	}
	return value, nil
}

func readFile(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", gatekeeper.Errorf(gatekeeper.CodeInvalid, "put the secret into a file that only the daemon can read", "a secret can't be read: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "the secret in %s can't be read: %w", file, err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" || len(text) > maxSecret {
		return "", gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "the file %s is empty or larger than %d bytes: it holds no secret", file, maxSecret)
	}
	return secret, nil
}
