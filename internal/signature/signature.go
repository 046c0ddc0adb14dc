// Package signature signs and checks webhooks with a shared secret: HMAC-SHA256 (RFC 2104) over
// the time and the body, so that neither can be changed and an old request can't be sent again
// for long. Gatekeeper's own webhooks and those that it takes are signed alike.
package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// The headers of a signed request.
const (
	HeaderTimestamp = "X-Gatekeeper-Timestamp" // when it was signed: seconds since 1970, decimal
	HeaderSignature = "X-Gatekeeper-Signature" // "v1=" and the HMAC in hexadecimal, of "<timestamp>.<body>"
)

// Window is how old a signed request may be, and how far ahead the sender's clock.
const Window = 5 * time.Minute

// MinSecret is the least number of characters of a secret.
const MinSecret = 16

const (
	version   = "v1="
	maxDigits = 12 // of a timestamp, until the year 33658
)

// CheckSecret refuses, with [gatekeeper.CodeInvalid], a secret that could be guessed.
func CheckSecret(secret string) error {
	if len(secret) < MinSecret {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "make one with: openssl rand -hex 32",
			"the secret has %d characters, fewer than %d, and could be guessed", len(secret), MinSecret)
	}
	return nil
}

// Sign sets both headers for body, as signed at at.
func Sign(h http.Header, secret string, at time.Time, body []byte) {
	stamp := strconv.FormatInt(at.Unix(), 10)
	h.Set(HeaderTimestamp, stamp)
	h.Set(HeaderSignature, version+hex.EncodeToString(sum(secret, stamp, body)))
}

// Verify says why a request with these headers and that body does not come from somebody who has
// the secret, or not at about now; nil when it does. The comparison takes the same time wherever
// the signatures differ.
func Verify(h http.Header, secret string, now time.Time, body []byte) error {
	const hint = "sign \"<timestamp>.<body>\" with the shared secret: HMAC-SHA256 in hexadecimal"
	stamps, signatures := h.Values(HeaderTimestamp), h.Values(HeaderSignature)
	if len(stamps) != 1 || len(signatures) != 1 {
		return gatekeeper.Errorf(gatekeeper.CodeRefused, hint, "the request needs one %s and one %s", HeaderTimestamp, HeaderSignature)
	}
	given, ok := strings.CutPrefix(signatures[0], version)
	mac, err := hex.DecodeString(given)
	if !ok || err != nil || !hmac.Equal(mac, sum(secret, stamps[0], body)) {
		return gatekeeper.Errorf(gatekeeper.CodeRefused, hint, "the signature is not that of this body, time and secret")
	}
	// Only now the time is the sender's own word.
	seconds, err := strconv.ParseInt(stamps[0], 10, 64)
	if err != nil || len(stamps[0]) > maxDigits {
		return gatekeeper.Errorf(gatekeeper.CodeRefused, "use the output of: date +%s", "the timestamp is no number of seconds since 1970")
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > Window || age < -Window {
		return gatekeeper.Errorf(gatekeeper.CodeRefused, "sign it anew; are both clocks right?", "the request was signed %s away from now, more than %s", age.Abs().Round(time.Second), Window)
	}
	return nil
}

func sum(secret, stamp string, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp + "."))
	mac.Write(body)
	return mac.Sum(nil)
}
