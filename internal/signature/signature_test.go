package signature

import (
	"encoding/hex"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

const secret = "0123456789abcdef"

var (
	at   = time.Unix(1790000000, 0)
	body = []byte(`{"action":"deployed","id":"r1"}`)
)

func signed() http.Header {
	h := http.Header{}
	Sign(h, secret, at, body)
	return h
}

// The value is what `printf '%s.%s' 1790000000 "$body" | openssl dgst -sha256 -hmac "$secret"` prints.
func TestSignIsWhatOpensslComputes(t *testing.T) {
	require.Equal(t, "1790000000", signed().Get(HeaderTimestamp))
	require.Equal(t, "v1=064ce3406e4a7d6a11dc11acf771a074f4f456d50887a9994c0570e2a4c00df6", signed().Get(HeaderSignature))
}

func TestVerify(t *testing.T) {
	for _, d := range []time.Duration{0, Window, -Window} {
		require.NoError(t, Verify(signed(), secret, at.Add(d), body))
	}
	for says, change := range map[string]func(h http.Header){
		"needs one":             func(h http.Header) { h.Del(HeaderSignature) },
		"needs one X":           func(h http.Header) { h.Del(HeaderTimestamp) },
		"needs one X-":          func(h http.Header) { h.Add(HeaderSignature, h.Get(HeaderSignature)) },
		"the signature":         func(h http.Header) { h.Set(HeaderTimestamp, "1790000001") },
		"the signature is":      func(h http.Header) { h.Set(HeaderSignature, "v1=00") },
		"the signature is not":  func(h http.Header) { h.Set(HeaderSignature, "v1=zz") },
		"the signature is not ": func(h http.Header) { h.Set(HeaderSignature, h.Get(HeaderSignature)[3:]) },
		"signature is not that of this body": func(h http.Header) {
			Sign(h, secret+"x", at, body)
		},
	} {
		h := signed()
		change(h)
		err := Verify(h, secret, at, body)
		require.ErrorContains(t, err, says)
		require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err))
		require.NotContains(t, err.Error()+gatekeeper.HintOf(err), secret)
	}
	require.Error(t, Verify(signed(), secret, at, append(body, ' ')))
	for _, stamp := range []string{"yesterday", "", "1e9", "0001790000000", "99999999999999999999"} {
		h := http.Header{}
		h.Set(HeaderTimestamp, stamp)
		h.Set(HeaderSignature, version+hex.EncodeToString(sum(secret, stamp, body)))
		require.ErrorContains(t, Verify(h, secret, at, body), "no number of seconds", stamp)
	}
	require.ErrorContains(t, Verify(signed(), secret, at.Add(Window+time.Second), body), "5m1s")
	require.ErrorContains(t, Verify(signed(), secret, at.Add(-Window-time.Second), body), "5m1s")
}

func TestShortSecretsAreRefused(t *testing.T) {
	require.NoError(t, CheckSecret(secret))
	err := CheckSecret("short")
	require.ErrorContains(t, err, "5 characters")
	require.NotContains(t, err.Error(), "short")
}
