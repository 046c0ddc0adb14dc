package httpclient

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// home lets requests to the connection's own scheme, host and port through, and no others. It is what
// holds even where somebody else's text, such as an answer, a label or a health file, got into an address.
type home struct {
	base *url.URL
	also []func(*url.URL) bool
	next http.RoundTripper
}

// RoundTrip implements [http.RoundTripper]. Its error doesn't show the address, which may hold a secret.
func (h home) RoundTrip(r *http.Request) (*http.Response, error) {
	if h.owns(r.URL) {
		return h.next.RoundTrip(r)
	}
	if r.Body != nil {
		_ = r.Body.Close() // nobody reads it
	}
	return nil, fmt.Errorf("the request is not for the connection's own host, %s, and was not sent", h.base.Host)
}

func (h home) owns(u *url.URL) bool {
	if u.Scheme == h.base.Scheme && strings.EqualFold(u.Host, h.base.Host) {
		return true
	}
	for _, own := range h.also {
		if own(u) {
			return true
		}
	}
	return false
}

// CloseIdleConnections does it for [http.Client.CloseIdleConnections].
func (h home) CloseIdleConnections() {
	(&http.Client{Transport: h.next}).CloseIdleConnections()
}
