package api

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Scope is what a token may be used for.
type Scope string

// The scopes. Operate is for people and includes nothing else: a person who may also open
// releases has both.
const (
	ScopeOpen    Scope = "open"    // open releases, say that they are deployed, close them
	ScopeOperate Scope = "operate" // approve, veto, hold, roll back, the kill switch, flags, reload
	ScopeAlerts  Scope = "alerts"  // send alerts
	ScopeRead    Scope = "read"    // read everything; every token may
)

// Scopes lists every scope.
func Scopes() []Scope { return []Scope{ScopeOpen, ScopeOperate, ScopeAlerts, ScopeRead} }

// Token is a client that the operator named. Its secret is kept as a hash only.
type Token struct {
	Name     string
	Scopes   []Scope
	Services gatekeeper.Globs // only releases of these; empty: all, and what belongs to no service

	hash [sha256.Size]byte
}

const (
	hashPrefix   = "sha256:"
	secretPrefix = "gatekeeper_" // by which scanners of repositories know it
	shortest     = 16            // characters of a secret
)

// NewSecret gives a fresh secret of 260 random bits.
func NewSecret() string { return secretPrefix + rand.Text() + rand.Text() }

// HashSecret gives a secret as it is written into the configuration. One round of SHA-256 is
// enough for secrets of [NewSecret], which can't be guessed; it would not be for passwords.
func HashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hashPrefix + hex.EncodeToString(sum[:])
}

// NewToken gives a token with its secret.
func NewToken(name, secret string, scopes []Scope) (Token, error) {
	if len(secret) < shortest {
		return Token{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "make one with: gatekeeper token new",
			"token %q: its secret has %d characters, fewer than %d, and could be guessed", name, len(secret), shortest)
	}
	return NewHashedToken(name, HashSecret(secret), scopes)
}

// NewHashedToken gives a token with its secret's hash, as [HashSecret] writes it.
func NewHashedToken(name, hash string, scopes []Scope) (Token, error) {
	digits, ok := strings.CutPrefix(hash, hashPrefix)
	sum, err := hex.DecodeString(digits)
	if !ok || err != nil || len(sum) != sha256.Size {
		return Token{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "make one with: gatekeeper token new",
			"token %q: its hash is not %s and %d hexadecimal digits", name, hashPrefix, hex.EncodedLen(sha256.Size))
	}
	return Token{Name: name, Scopes: scopes, hash: [sha256.Size]byte(sum)}, nil
}

// find compares with every token, in a time that tells nothing of any of them.
func (g gate) find(secret string) *Token {
	hash := sha256.Sum256([]byte(secret))
	var found *Token
	for i := range g.tokens {
		if subtle.ConstantTimeCompare(hash[:], g.tokens[i].hash[:]) == 1 {
			found = &g.tokens[i]
		}
	}
	return found
}

// may says whether the token has the scope; reading needs none.
func (t *Token) may(scope Scope) bool { return scope == ScopeRead || slices.Contains(t.Scopes, scope) }
