package web

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

var screenshots = flag.String("screenshots", "", "a folder for pictures of the pages")

// chromium is a real browser with a tab of its own.
type chromium struct {
	t   *testing.T
	ctx context.Context
}

// newChromium starts a browser that ends with the test.
func newChromium(t *testing.T, more ...chromedp.ExecAllocatorOption) chromium {
	t.Helper()
	options := append([]chromedp.ExecAllocatorOption{
		chromedp.ExecPath(servertest.Need(t, "chromium")), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.Headless, chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck, chromedp.DisableGPU, chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("force-color-profile", "srgb"),
	}, more...)
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, stop := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {}))
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(func() { cancel(); stop(); stopAllocator() })
	c := chromium{t, ctx}
	c.do(chromedp.EmulateViewport(1100, 860))
	return c
}

func (c chromium) do(steps ...chromedp.Action[chromedp.Void]) {
	c.t.Helper()
	require.NoError(c.t, chromedp.Do(c.ctx, steps...))
}

// ask gives what an action finds out.
func ask[T any](c chromium, action chromedp.Action[T]) T {
	c.t.Helper()
	found, err := chromedp.Run(c.ctx, action)
	require.NoError(c.t, err)
	return found
}

// evaluate gives what the page's own script sees.
func evaluate[T any](c chromium, script string) T {
	c.t.Helper()
	return ask(c, chromedp.Evaluate[T](script))
}

// tell has the browser itself do something.
func tell[P, R any](c chromium, command cdp.Command[P, R], params P) {
	c.t.Helper()
	_, err := chromedp.Call(c.ctx, command, params)
	require.NoError(c.t, err)
}

// text gives what a person reads.
func (c chromium) text() string {
	c.t.Helper()
	return evaluate[string](c, `document.body ? document.body.innerText : ""`)
}

// reads waits until the page says something, without being loaded anew.
func (c chromium) reads(says string) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return strings.Contains(c.text(), says) }, 30*time.Second, 50*time.Millisecond, "%q in\n%s", says, c.text())
}

// shot keeps a picture of the page where pictures are asked for.
func (c chromium) shot(name string) {
	c.t.Helper()
	c.keep(name, ask(c, chromedp.FullScreenshot(100)))
}

func (c chromium) keep(name string, image []byte) {
	c.t.Helper()
	require.NotEmpty(c.t, image)
	if *screenshots != "" {
		require.NoError(c.t, os.WriteFile(filepath.Join(*screenshots, name+".png"), image, 0o600))
	}
}

// looks keeps the page in both colours and on a phone, where it must not need scrolling sideways.
func (c chromium) looks(name string) {
	c.t.Helper()
	c.shot(name)
	c.keep(name+"-top", ask(c, chromedp.CaptureScreenshot()))
	tell(c, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}})
	c.shot(name + "-dark")
	tell(c, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{})
	c.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
	require.False(c.t, evaluate[bool](c, `document.documentElement.scrollWidth > 390`), "%s is wider than a phone", name)
	c.shot(name + "-phone")
	c.keep(name+"-phone-top", ask(c, chromedp.CaptureScreenshot()))
	c.do(chromedp.EmulateViewport(1100, 860))
}

// A release goes bad while somebody looks: the page says so by itself, on to the end.
func TestPageFollowsARollback(t *testing.T) {
	s := newShop(t)
	c := newChromium(t)
	before := 3 * time.Second
	if *screenshots != "" {
		before = 25 * time.Second // there is more to see
	}
	s.open("r1", checkout)
	// Without its clock the page hears of everything by the stream of events.
	tell(c, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: `window.setInterval = () => 0`})
	c.do(chromedp.Navigate(s.site.URL + "/releases/r1"))
	evaluate[bool](c, `window.stayed = true`)
	c.reads("Nothing is wrong.")
	require.Regexp(t, `The window ends\s+(in\s+)?(30:00|29:\d\d)`, c.text(), "it counts down")
	c.reads("What the rules see")
	c.do(chromedp.SetValue("#why", "looking at it"), chromedp.Focus("#why"))
	s.until("r1", func(r gatekeeper.Release) bool { return time.Since(r.DeployedAt) > before })
	c.looks("watching")
	s.fails("1.4.2", 0.05)
	c.reads("If it stays so, it is acted on")
	c.reads("HighErrorRate: 0.05")
	require.Equal(t, "looking at it", ask(c, chromedp.Value("#why")), "what somebody writes is kept while the page goes on")
	require.Equal(t, "why", evaluate[string](c, `document.activeElement.id`))
	c.looks("pending")
	c.reads("rolled back")
	c.reads("in all")
	require.True(t, evaluate[bool](c, `window.stayed === true`), "the page was never loaded anew")
	require.Contains(t, ask(c, chromedp.Title()), "rolled back")
	require.Contains(t, evaluate[string](c, `document.getElementById("announce").textContent`), "is rolled back", "it is read out")
	require.GreaterOrEqual(t, evaluate[int](c, `[...document.images].filter(i => i.complete && i.naturalWidth > 100).length`), 1, "the charts are there")
	c.looks("rolled-back")
}

// A person logs in, sees what is held, and approves it with one press.
func TestLogInAndApprove(t *testing.T) {
	s := newShop(t, token(t, "ops", opsSecret, nil, api.ScopeOperate, api.ScopeOpen))
	c := newChromium(t)
	s.fails("1.4.2", 0.05)
	s.open("done", checkout)
	s.until("done", gatekeeper.Release.Closed)
	s.open("r1", holding)
	s.open("fine", strings.Replace(checkout, "service: checkout", "service: search", 1), func(r *engine.OpenRequest) { r.Version = "7.0.1" })
	s.until("r1", inState(gatekeeper.Holding))
	c.do(chromedp.Navigate(s.site.URL + "/releases/r1"))
	c.reads("Show a token")
	c.looks("login")
	c.do(chromedp.SendKeys("#token", opsSecret), chromedp.Submit("#token"), chromedp.WaitVisible("#timeline"))
	c.reads("waits for a person")
	c.do(chromedp.Navigate(s.site.URL + "/"))
	c.reads("Recently closed")
	c.looks("list")
	c.do(chromedp.Click(`a[href="./releases/r1"]`), chromedp.WaitVisible("#why"))
	c.looks("held")
	c.do(chromedp.SendKeys("#why", "seen it"), chromedp.Click(`button[formaction$="/approve"]`))
	c.reads("rolled back")
	r := s.until("r1", gatekeeper.Release.Closed)
	require.Equal(t, gatekeeper.OutcomeRolledBack, r.Outcome)
	require.Equal(t, gatekeeper.CauseApproved, r.Decision.Cause)
	require.Contains(t, r.Decision.Says, "approved by ops")

	c.do(chromedp.Navigate(s.site.URL+"/kill-switch"), chromedp.SendKeys("#why", "a bad day"), chromedp.Click("button.bad"))
	c.reads("Turn it off")
	require.True(t, s.engine.KillSwitch().On)
	c.looks("kill-switch")
	c.do(chromedp.Navigate(s.site.URL + "/"))
	c.reads("The kill switch is on")
}

// Without JavaScript everything can be read, and the forms work.
func TestWithoutJavaScript(t *testing.T) {
	s := newShop(t)
	c := newChromium(t)
	s.fails("1.4.2", 0.05)
	s.open("r1", holding)
	s.until("r1", inState(gatekeeper.Holding))
	tell(c, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	c.do(chromedp.Navigate(s.site.URL+"/releases/r1"), chromedp.WaitVisible("#timeline"))
	html := ask(c, chromedp.OuterHTML("body"))
	require.Regexp(t, `<time[^>]* data-until="">\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC</time>`, html, "times stand there by themselves")
	c.shot("no-script")
	c.do(chromedp.Click(`button[formaction$="/approve"]`))
	r := s.until("r1", gatekeeper.Release.Closed)
	require.Equal(t, gatekeeper.OutcomeRolledBack, r.Outcome)
}
