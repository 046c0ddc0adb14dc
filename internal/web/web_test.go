package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
)

const (
	readSecret = "gatekeeper_reader_0123456789"
	opsSecret  = "gatekeeper_operator_0123456789"
	shopSecret = "gatekeeper_shop_0123456789"
)

// holding has a person asked about every breach.
var holding = strings.Replace(checkout, "rollback:\n", "respond:\n  - do: hold\nrollback:\n", 1)

// A bad release from the list to the end, read without JavaScript.
func TestPagesTellWhatIsWrongAndWhatHappensNext(t *testing.T) {
	s := newShop(t)
	b := s.browser()
	page := b.get("/")
	require.Equal(t, 200, page.status)
	require.Contains(t, page.text, "No release is open")
	require.Contains(t, page.text, "None yet")

	s.open("r1", checkout)
	s.until("r1", func(r gatekeeper.Release) bool { return r.Tracks["HighErrorRate"].Verdict == gatekeeper.Healthy })
	page = b.get("/")
	require.Contains(t, page.text, "Nothing is wrong.")
	require.Contains(t, page.text, "The window ends")
	require.Contains(t, page.text, `limit &gt; 0.01`)
	require.Contains(t, page.text, "before it 1.4.1")

	s.fails("1.4.2", 0.05)
	r := s.until("r1", gatekeeper.Release.Closed)
	require.Equal(t, gatekeeper.OutcomeRolledBack, r.Outcome)
	page = b.get("/")
	require.Contains(t, page.text, "rolled back</span>")
	page = b.get("/releases/r1")
	for _, says := range []string{
		"pending → decided", "servers blue=100 green=0", "servers switched", `<span class="label">decided</span>`, `src="../releases/r1/HighErrorRate.svg?v=`,
		"data-closed", "HighErrorRate is", `class="state good">reached`,
	} {
		require.Contains(t, page.text, says)
	}
	require.NotContains(t, page.text, `<form method="post" class="do"`, "there is nothing to do")
	require.Less(t, strings.Index(page.text, ">recovered<"), strings.Index(page.text, ">opened<"), "the newest first")
}

func TestPagesAreHardened(t *testing.T) {
	s := newShop(t)
	b := s.browser()
	for _, path := range []string{"/", "/kill-switch", "/releases/none", "/static/page.js"} {
		page := b.get(path)
		csp := page.header.Get("Content-Security-Policy")
		require.Contains(t, csp, "default-src 'none'", path)
		require.Contains(t, csp, "frame-ancestors 'none'", path)
		require.NotContains(t, csp, "unsafe", path)
		require.Equal(t, "nosniff", page.header.Get("X-Content-Type-Options"), path)
		require.NotContains(t, page.text, "style=", path)
		require.NotContains(t, page.text, " on"+"click", path)
	}
	require.Equal(t, 404, b.get("/releases/none").status)
	require.Contains(t, b.get("/releases/none").text, "there is no release &#34;none&#34;")
	require.Equal(t, 404, b.get("/static/none.js").status)
	require.Contains(t, b.get("/nothing").header.Get("Content-Type"), "problem+json", "what is not a page is the API's")
}

// Whoever writes a health file or opens a release can't write into a page.
func TestNothingBreaksOutOfAPage(t *testing.T) {
	s := newShop(t)
	const attack = `"><script>alert(1)</script><img src=x onerror=alert(1)>'{{.}}`
	file := strings.NewReplacer("service: checkout", "service: '"+strings.ReplaceAll(attack, "'", "''")+"'", "HighErrorRate", `"`+strings.ReplaceAll(attack, `"`, `\"`)+`"`,
		"is above 1%", strings.ReplaceAll(strings.ReplaceAll(attack, `"`, `\"`), "{{.}}", "")).Replace(holding)
	r, err := s.engine.Open(t.Context(), engine.OpenRequest{
		ID: "r1", Version: "1.4.2" + attack, PreviousVersion: attack, Environment: attack, Actor: attack, Labels: map[string]string{"team": attack},
		Bundle: bundle(file), Deployed: true,
	})
	require.NoError(t, err)
	s.until(r.ID, func(r gatekeeper.Release) bool { return len(r.Tracks) == 2 })
	_, err = s.engine.Hold(t.Context(), r.ID, engine.By{Actor: attack, Why: attack})
	require.NoError(t, err)
	_, err = s.engine.SetKillSwitch(t.Context(), true, engine.By{Actor: attack, Why: attack})
	require.NoError(t, err)
	b := s.browser()
	for _, path := range []string{"/", "/releases/" + url.PathEscape(r.ID), "/kill-switch", "/releases/" + url.PathEscape(attack+"none"), "/login?release=" + url.QueryEscape(attack)} {
		page := b.get(path)
		require.NotContains(t, page.text, "<script>alert", path)
		require.NotContains(t, page.text, "<img src=x", path)
		require.Contains(t, page.text, "&lt;script&gt;", path)
	}
	picture := b.get("/releases/r1/" + url.PathEscape(attack) + ".svg")
	require.Equal(t, 200, picture.status, picture)
	require.NotContains(t, picture.text, "<script>alert")
	page := b.send("/releases/"+url.PathEscape(r.ID), "/releases/"+url.PathEscape(r.ID)+"/resume", "why", attack)
	require.Equal(t, 200, page.status, page)
	require.NotContains(t, page.text, "<script>alert")
}

func TestFormsAsk(t *testing.T) {
	s := newShop(t)
	b := s.browser()
	s.open("r1", holding)
	ask := func(verb string, fields ...string) seen {
		return b.send("/releases/r1", "/releases/r1/"+verb, fields...)
	}
	require.Equal(t, "/releases/r1", ask("hold", "why", "wait for bob").path)
	r := s.until("r1", inState(gatekeeper.Holding))
	require.Contains(t, r.Hold.Says, "wait for bob")
	require.Contains(t, b.get("/releases/r1").text, "Somebody holds it")
	ask("resume")
	s.until("r1", inState(gatekeeper.Watching))
	before := s.until("r1", inState(gatekeeper.Watching)).WindowEnd
	ask("extend", "minutes", "15")
	require.Equal(t, 15*time.Minute, s.until("r1", inState(gatekeeper.Watching)).WindowEnd.Sub(before))
	require.Equal(t, 422, ask("extend", "minutes", "soon").status)

	s.fails("1.4.2", 0.05)
	s.until("r1", inState(gatekeeper.Holding))
	require.Contains(t, b.get("/releases/r1").text, "Approve: roll back now")
	ask("veto", "why", "known")
	require.Contains(t, s.until("r1", inState(gatekeeper.Watching)).Muted, "HighErrorRate")
	page := ask("approve")
	require.Equal(t, http.StatusConflict, page.status)
	require.Contains(t, page.text, "there is nothing to approve", "the page says why not")
	require.Contains(t, page.text, `href="../../static/style.css`, "and is a page all the same")
	require.Equal(t, 404, ask("dance").status)
	ask("rollback", "why", "enough")
	r = s.until("r1", gatekeeper.Release.Closed)
	require.Equal(t, gatekeeper.OutcomeRolledBack, r.Outcome)
	require.Contains(t, b.get("/releases/r1").text, "enough")

	require.Equal(t, "/kill-switch", b.send("/kill-switch", "/kill-switch", "on", "true", "why", "disaster").path)
	require.True(t, s.engine.KillSwitch().On)
	require.Contains(t, b.get("/").text, "The kill switch is on")
	b.send("/kill-switch", "/kill-switch", "on", "false")
	require.Contains(t, b.get("/kill-switch").text, "Last turned off by local, ")
	require.False(t, s.engine.KillSwitch().On)
}

// A page of somebody else's, in the browser of somebody who may, does nothing.
func TestForgedFormsAreRefused(t *testing.T) {
	s := newShop(t, token(t, "ops", opsSecret, nil, api.ScopeOperate), token(t, "other", shopSecret, nil, api.ScopeOperate))
	s.open("r1", checkout)
	b := s.browser()
	require.Equal(t, "/releases/r1", b.do("POST", "/login", url.Values{"token": {opsSecret}, "release": {"r1"}}).path)
	mine := formToken.FindStringSubmatch(b.get("/releases/r1").text)[1]
	other := s.browser()
	other.do("POST", "/login", url.Values{"token": {shopSecret}})
	theirs := formToken.FindStringSubmatch(other.get("/releases/r1").text)[1]
	require.NotEqual(t, mine, theirs)
	for name, c := range map[string]struct {
		form   string
		header http.Header
	}{
		"no form token":      {"", nil},
		"a wrong one":        {strings.Repeat("0", 64), nil},
		"another person's":   {theirs, nil},
		"a foreign origin":   {mine, http.Header{"Origin": {"https://evil.example"}}},
		"a foreign site":     {mine, http.Header{"Sec-Fetch-Site": {"cross-site"}}},
		"a neighbour's port": {mine, http.Header{"Sec-Fetch-Site": {"same-site"}}},
	} {
		b.header = c.header
		for _, at := range []string{"/releases/r1/hold", "/releases/r1/rollback", "/kill-switch", "/logout"} {
			require.Equal(t, 403, b.do("POST", at, url.Values{"form": {c.form}, "on": {"true"}}).status, "%s %s", name, at)
		}
	}
	b.header = nil
	require.Equal(t, gatekeeper.Watching, s.until("r1", inState(gatekeeper.Watching)).State)
	require.False(t, s.engine.KillSwitch().On)
	require.Equal(t, 403, b.do("POST", "/api/v1/releases/r1/hold", url.Values{"form": {mine}}).status, "the API takes no session for changes")
	require.Equal(t, 200, b.get("/api/v1/releases/r1").status)
	b.header = http.Header{"Sec-Fetch-Site": {"cross-site"}}
	require.Equal(t, 403, b.get("/api/v1/releases/r1").status)
	require.Equal(t, 403, b.get("/releases/r1").status)
	b.header = http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}
	require.Equal(t, 200, b.get("/releases/r1").status, "a link in a chat")
	b.header = nil
	require.Equal(t, "/releases/r1", b.send("/releases/r1", "/releases/r1/hold", "why", "mine").path)
	require.Contains(t, s.until("r1", inState(gatekeeper.Holding)).Hold.Says, "held by ops: mine", "the actor is the token")
}

func TestLogin(t *testing.T) {
	s := newShop(t, token(t, "ops", opsSecret, nil, api.ScopeOperate))
	b := s.browser()
	require.Equal(t, "/login", b.get("/").path)
	require.Equal(t, "/login?release=a%2Fb", b.get("/releases/a%2Fb").path)
	require.Contains(t, b.get("/login?release=a%2Fb").text, `href="./releases/a%2Fb"`)
	require.Equal(t, "/login", b.do("POST", "/kill-switch", url.Values{"on": {"true"}}).path)
	require.False(t, s.engine.KillSwitch().On)
	require.Equal(t, 401, b.do("POST", "/login", url.Values{"token": {"wrong"}}).status)

	page := b.do("POST", "/login", url.Values{"token": {opsSecret}})
	require.Equal(t, "/", page.path)
	require.Contains(t, page.text, "ops")
	require.NotContains(t, page.text, opsSecret)
	cookie := b.client.Jar.Cookies(nil)[0]
	require.True(t, cookie.HttpOnly)
	require.Equal(t, http.SameSiteStrictMode, cookie.SameSite)
	require.NotContains(t, cookie.Value, opsSecret)

	require.Equal(t, "/login", b.send("/", "/logout").path)
	require.Equal(t, "/login", b.get("/").path)
	b.client.Jar.SetCookies(nil, []*http.Cookie{{Name: cookie.Name, Value: cookie.Value}})
	require.Equal(t, "/login", b.get("/").path, "the session is over, whoever still has the cookie")

	for range 12 {
		b.do("POST", "/login", url.Values{"token": {"wrong"}})
	}
	require.Equal(t, 429, b.do("POST", "/login", url.Values{"token": {opsSecret}}).status)
	b.header.Set("Origin", "https://evil.example")
	require.Equal(t, 403, b.do("POST", "/login", url.Values{"token": {opsSecret}}).status)
}

// Who is known by a certificate or a password needs no login; their browser shows both by itself, so
// forms are looked at all the same.
func TestKnownClients(t *testing.T) {
	s := newShop(t)
	pages, err := New(Config{Engine: s.engine, Log: discard})
	require.NoError(t, err)
	who := "alice"
	s.site.Config.Handler, err = api.New(api.Config{Engine: s.engine, Pages: pages.Pages, Known: func(*http.Request) (string, bool) { return who, true }})
	require.NoError(t, err)
	s.open("r1", checkout)
	b := s.browser()
	require.Equal(t, "/", b.get("/login").path)
	page := b.get("/releases/r1")
	require.Contains(t, page.text, "alice")
	require.NotContains(t, page.text, "Log out")
	alices := formToken.FindStringSubmatch(page.text)[1]
	require.Equal(t, 403, b.do("POST", "/releases/r1/hold", url.Values{}).status)
	who = "bob"
	require.Equal(t, 403, b.do("POST", "/releases/r1/hold", url.Values{"form": {alices}}).status)
	require.Equal(t, 200, b.send("/releases/r1", "/releases/r1/hold").status)
	require.Contains(t, s.until("r1", inState(gatekeeper.Holding)).Hold.Says, "held by bob")
}

// A reload that takes a token away ends its sessions, and one that keeps it keeps them.
func TestReloadEndsSessions(t *testing.T) {
	ops, reader := token(t, "ops", opsSecret, nil, api.ScopeOperate), token(t, "reader", readSecret, nil)
	s := newShop(t, ops, reader)
	pages, err := New(Config{Engine: s.engine, Log: discard})
	require.NoError(t, err)
	sessions := api.NewSessions()
	face := func(tokens ...api.Token) http.Handler {
		h, err := api.New(api.Config{Engine: s.engine, Tokens: tokens, Pages: pages.Pages, Sessions: sessions})
		require.NoError(t, err)
		return h
	}
	s.site.Config.Handler = face(ops, reader)
	b := s.browser()
	b.do("POST", "/login", url.Values{"token": {opsSecret}})
	require.Equal(t, "/", b.get("/").path)
	s.site.Config.Handler = face(ops)
	require.Equal(t, "/", b.get("/").path, "its token is still one")
	s.site.Config.Handler = face(token(t, "ops", shopSecret, nil, api.ScopeOperate), reader)
	require.Equal(t, "/login", b.get("/").path, "the name has another secret")
	s.site.Config.Handler = face(reader)
	require.Equal(t, "/login", b.get("/").path)
	b.do("POST", "/login", url.Values{"token": {readSecret}})
	require.Contains(t, b.get("/kill-switch").text, "Turning it takes a token")
}

// A token sees and does what its scopes and services allow, and learns nothing of others.
func TestScopesAndServices(t *testing.T) {
	s := newShop(t, token(t, "reader", readSecret, nil), token(t, "shop", shopSecret, gatekeeper.Globs{"shop-*"}, api.ScopeOperate, api.ScopeOpen))
	s.open("theirs", holding)
	s.open("mine", strings.Replace(holding, "service: checkout", "service: shop-web", 1))
	s.until("theirs", func(r gatekeeper.Release) bool { return len(r.Tracks) == 2 })

	reader := s.browser()
	reader.do("POST", "/login", url.Values{"token": {readSecret}})
	page := reader.get("/releases/theirs")
	require.Equal(t, 200, page.status)
	require.NotContains(t, page.text, "formaction")
	require.Equal(t, 200, reader.get("/releases/theirs/HighErrorRate.svg").status)
	page = reader.send("/releases/theirs", "/releases/theirs/hold")
	require.Equal(t, 403, page.status)
	require.Contains(t, page.text, "does not have the scope operate")
	require.Equal(t, 403, reader.send("/", "/kill-switch", "on", "true").status)

	shop := s.browser()
	shop.do("POST", "/login", url.Values{"token": {shopSecret}})
	page = shop.get("/")
	require.Contains(t, page.text, "releases/mine")
	require.NotContains(t, page.text, "theirs")
	for _, path := range []string{"/releases/theirs", "/releases/theirs/HighErrorRate.svg", "/releases/theirs/HighErrorRate.png"} {
		page = shop.get(path)
		require.Equal(t, 404, page.status, path)
		require.NotContains(t, page.text, "checkout", path)
	}
	require.Equal(t, 404, shop.send("/", "/releases/theirs/rollback").status)
	require.Equal(t, 403, shop.get("/api/v1/releases/theirs/events").status)
	require.Equal(t, 403, shop.send("/", "/kill-switch", "on", "true").status)
	require.False(t, s.engine.KillSwitch().On)
	require.Equal(t, "/releases/mine", shop.send("/releases/mine", "/releases/mine/hold").path)
	s.until("mine", inState(gatekeeper.Holding))
	s.until("theirs", inState(gatekeeper.Watching))
}

func TestPictures(t *testing.T) {
	s := newShop(t, token(t, "reader", readSecret, nil))
	s.fails("1.4.2", 0.05)
	s.open("r1", checkout)
	r := s.until("r1", gatekeeper.Release.Closed)
	b := s.browser()
	require.Equal(t, "/login?release=r1", b.get("/releases/r1/HighErrorRate.png").path)

	pictures := NewPictures([]byte("key"), "https://gatekeeper.example/ops/", s.journal)
	of := notify.Moment{Release: "r1", Seq: r.Seq, Rule: "HighErrorRate"}
	address := func(at time.Time) string {
		_, path, _ := strings.Cut(pictures.Address(of, at), "https://gatekeeper.example/ops")
		return path
	}
	now := time.Now()
	good := b.get(address(now))
	require.Equal(t, 200, good.status)
	require.Equal(t, "image/png", good.header.Get("Content-Type"))
	require.True(t, strings.HasPrefix(good.text, "\x89PNG"))
	for name, path := range map[string]string{
		"expired":         address(now.Add(-signedFor - time.Minute)),
		"another release": strings.Replace(address(now), "r1", "r2", 1),
		"another rule":    strings.Replace(address(now), "HighErrorRate", "SlowCheckout", 1),
		"another kind":    strings.Replace(address(now), ".png", ".svg", 1),
		"another moment":  strings.Replace(address(now), "seq=", "seq=1", 1),
		"a later end":     strings.Replace(address(now), "expires=", "expires=9", 1),
		"no signature":    "/pictures/r1/HighErrorRate.png",
	} {
		require.Equal(t, 404, b.get(path).status, name)
	}
	require.Empty(t, NewPictures(nil, "", s.journal).Address(of, now))
	_, err := pictures.Draw(t.Context(), notify.Moment{Release: "r1", Seq: 1, Rule: "HighErrorRate"})
	require.Equal(t, gatekeeper.CodeNotFound, gatekeeper.CodeOf(err), "the rule had said nothing then")

	b.do("POST", "/login", url.Values{"token": {readSecret}})
	svg := b.get("/releases/r1/HighErrorRate.svg")
	require.Equal(t, "image/svg+xml", svg.header.Get("Content-Type"))
	require.Contains(t, svg.header.Get("Content-Security-Policy"), "sandbox")
	require.Contains(t, svg.text, "<svg")
	for _, path := range []string{"/releases/r1/HighErrorRate.gif", "/releases/r1/None.svg", "/releases/r1/.svg"} {
		require.Equal(t, 404, b.get(path).status, path)
	}
}
