package api

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

const (
	cookieName   = "gatekeeper_session"
	sessionFor   = 12 * time.Hour // a shift; then the token is asked for again
	maxSessions  = 1024           // the oldest ends when there would be more
	maxFailures  = 10             // wrong tokens of one address in failureFor
	failureFor   = time.Minute
	maxAddresses = 4096 // whose wrong tokens are counted
)

// Sessions are the people who have shown their token in a browser. The browser holds a random
// number instead of the token. They are in memory: a restart asks for the token again. The methods
// may be called concurrently.
type Sessions struct {
	key [sha256.Size]byte // of the forms' tokens

	mu       sync.Mutex
	open     map[string]session // by the hash of what the browser holds
	failures map[string]failures
}

// session is a token that was shown; it is looked up anew for every request, so a reload that
// takes it away or changes its secret ends the session.
type session struct {
	token string
	hash  [sha256.Size]byte
	until time.Time
}

// failures are wrong tokens from one address.
type failures struct {
	count int
	until time.Time
}

// NewSessions gives no sessions yet.
func NewSessions() *Sessions {
	s := &Sessions{open: map[string]session{}, failures: map[string]failures{}}
	_, _ = rand.Read(s.key[:]) // it never fails (package crypto/rand)
	return s
}

func hashed(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// begin gives what the browser of a new session holds.
func (s *Sessions) begin(t *Token, now time.Time) (secret string) {
	secret = rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := ""
	for id, one := range s.open {
		if !now.Before(one.until) {
			delete(s.open, id)
		} else if oldest == "" || one.until.Before(s.open[oldest].until) {
			oldest = id
		}
	}
	if len(s.open) >= maxSessions {
		delete(s.open, oldest)
	}
	s.open[hashed(secret)] = session{token: t.Name, hash: t.hash, until: now.Add(sessionFor)}
	return secret
}

func (s *Sessions) find(id string, now time.Time) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.open[id]
	return one, ok && now.Before(one.until)
}

func (s *Sessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, id)
}

// mayTry says whether an address has not shown too many wrong tokens a moment ago.
func (s *Sessions) mayTry(address string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.failures[address]
	return f.count < maxFailures || !now.Before(f.until)
}

func (s *Sessions) failed(address string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, known := s.failures[address]
	if !known && len(s.failures) >= maxAddresses {
		clear(s.failures)
	}
	if !now.Before(f.until) {
		f = failures{until: now.Add(failureFor)}
	}
	f.count++
	s.failures[address] = f
}

// formToken gives what a form of that caller must carry. Pages of others can't read it.
func (s *Sessions) formToken(c caller) string {
	mac := hmac.New(sha256.New, s.key[:])
	mac.Write([]byte(c.session + "\x00" + c.name))
	return hex.EncodeToString(mac.Sum(nil))
}

// bySession says whose session the browser shows.
func (g gate) bySession(r *http.Request, strange bool) (caller, *Problem) {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return caller{}, refusal(http.StatusUnauthorized, "give a token: GATEKEEPER_TOKEN, the header Authorization: Bearer …, or log in at /login", "this needs a token")
	}
	id := hashed(cookie.Value)
	if one, ok := g.sessions.find(id, time.Now()); ok {
		for i := range g.tokens {
			if t := &g.tokens[i]; t.Name == one.token && t.hash == one.hash {
				if strange {
					return caller{}, refusal(http.StatusForbidden, "open the daemon's own address", "a web page of another origin may not ask Gatekeeper")
				}
				return caller{name: t.Name, means: gatekeeper.MeansSession, services: t.Services, token: t, session: id}, nil
			}
		}
	}
	return caller{}, refusal(http.StatusUnauthorized, "log in again at /login", "the session is over, or its token is no longer one")
}

// Door is where people come in with a browser: by the tokens, certificates and passwords of the
// API. Its methods may be called concurrently.
type Door struct{ gate gate }

// Visitor is who asks for a page.
type Visitor struct {
	caller
	form string
}

// Name is that of the token, the certificate or the user; "" for somebody on this machine.
func (v Visitor) Name() string { return v.name }

// By says who the visitor is for the journal, and why they ask for a change.
func (v Visitor) By(why string) gatekeeper.By { return v.by("", why) }

// May says whether the visitor may do what the scope is for.
func (v Visitor) May(scope Scope) bool { return v.may(scope) }

// Sees says whether the visitor may know of a service's releases.
func (v Visitor) Sees(service string) bool { return v.sees(service) }

// Confined says whether the visitor is for some services only, and not for what concerns them all.
func (v Visitor) Confined() bool { return len(v.services) > 0 }

// LoggedIn says whether there is a session to end.
func (v Visitor) LoggedIn() bool { return v.session != "" }

// FormToken is what each of the visitor's forms carries as the field "form".
func (v Visitor) FormToken() string { return v.form }

// Admit says who asks for a page, which reads and changes nothing. The error is a [*Problem]; with status 401
// logging in helps. Following a link on a page of others is no harm, so that is let in.
func (d Door) Admit(r *http.Request) (Visitor, error) {
	link := reads(r) && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
	who, p := d.gate.identify(r, foreign(r) && !link)
	if p != nil {
		return Visitor{}, p
	}
	return Visitor{who, d.gate.sessions.formToken(who)}, nil
}

// Change says who sends a form that changes something: it must come from a page of this daemon
// that was made for the same person. The error is a [*Problem].
func (d Door) Change(r *http.Request) (Visitor, error) {
	who, p := d.gate.identify(r, foreign(r))
	if p != nil {
		return Visitor{}, p
	}
	want := d.gate.sessions.formToken(who)
	if !hmac.Equal([]byte(r.PostFormValue("form")), []byte(want)) {
		return Visitor{}, refusal(http.StatusForbidden, "open the page again and press once more", "the form is not from a page that was made for you, or the daemon was restarted since: nothing was done")
	}
	return Visitor{who, want}, nil
}

// Needed says whether people log in here, being known by tokens.
func (d Door) Needed() bool { return len(d.gate.tokens) > 0 }

// Login begins a session for who shows a token. The error is a [*Problem].
func (d Door) Login(w http.ResponseWriter, r *http.Request, secret string) error {
	if foreign(r) {
		return refusal(http.StatusForbidden, "open the daemon's own address", "a web page of another origin may not log in here")
	}
	now, address := time.Now(), r.RemoteAddr
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	if !d.gate.sessions.mayTry(address, now) {
		return refusal(http.StatusTooManyRequests, "wait a minute", "too many wrong tokens came from your address")
	}
	t := d.gate.find(secret)
	if t == nil {
		d.gate.sessions.failed(address, now)
		return refusal(http.StatusUnauthorized, "ask the operator for a token of the daemon's configuration", "the token is not known")
	}
	http.SetCookie(w, cookie(r, d.gate.sessions.begin(t, now), int(sessionFor/time.Second)))
	return nil
}

// Logout ends the visitor's session.
func (d Door) Logout(w http.ResponseWriter, r *http.Request, v Visitor) {
	d.gate.sessions.end(v.session)
	http.SetCookie(w, cookie(r, "", -1))
}

func cookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: cookieName, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	}
}
