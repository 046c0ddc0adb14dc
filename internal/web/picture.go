package web

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/chart"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
)

const (
	maxDrawing = 2                   // pictures drawn at once: they are for looking at, and may wait
	signedFor  = 30 * 24 * time.Hour // how long a chat may show a picture
)

var drawing = make(chan struct{}, maxDrawing)

// size is that of a picture in CSS pixels: as wide as a column of a page or of a chat, or as a phone.
type size struct{ width, height int }

var wide, small = size{880, 360}, size{440, 300}

// kinds are those of pictures.
var kinds = map[string]struct {
	contentType string
	paint       func(c chart.Chart, w io.Writer, width, height int) error
}{
	"svg": {"image/svg+xml", chart.Chart.SVG},
	"png": {"image/png", chart.Chart.PNG},
}

// draw makes the picture of a rule, or waits until it may.
func draw(ctx context.Context, kind string, size size, r gatekeeper.Release, facts []gatekeeper.Fact, rule string) ([]byte, error) {
	if !slices.Contains(chart.Rules(facts), rule) {
		return nil, gatekeeper.Errorf(gatekeeper.CodeNotFound, "", "release %s tells nothing of a rule %q", r.ID, rule)
	}
	select {
	case drawing <- struct{}{}:
		defer func() { <-drawing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var b bytes.Buffer
	err := kinds[kind].paint(chart.Of(r, facts, rule), &b, size.width, size.height)
	return b.Bytes(), err
}

// named takes a picture's name apart: the rule, and the kind.
func named(name string) (rule, kind string, err error) {
	i := strings.LastIndexByte(name, '.')
	if i > 0 {
		if _, ok := kinds[name[i+1:]]; ok {
			return name[:i], name[i+1:], nil
		}
	}
	return "", "", gatekeeper.Errorf(gatekeeper.CodeNotFound, "end it in .svg or .png", "there is no picture %q", name)
}

// picture serves the picture of a rule as it stands at this moment.
func (s *site) picture(v visit) {
	rule, kind, err := named(v.r.PathValue("picture"))
	if err != nil {
		s.refuse(v, err)
		return
	}
	r, facts, err := s.find(v)
	if err != nil {
		s.refuse(v, err)
		return
	}
	size := wide
	if v.r.FormValue("width") == "small" {
		size = small
	}
	image, err := draw(v.r.Context(), kind, size, r, facts, rule)
	if err != nil {
		s.refuse(v, err)
		return
	}
	serve(v.w, kind, image)
}

func serve(w http.ResponseWriter, kind string, image []byte) {
	w.Header().Set("Content-Type", kinds[kind].contentType)
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox") // of an SVG opened by itself
	_, _ = w.Write(image)                                                                               // the browser has gone: nobody is left to tell
}

// Facts is what pictures are drawn from.
type Facts interface {
	Facts(ctx context.Context, release string) ([]gatekeeper.Fact, error)
}

// Pictures makes pictures for those who are told of a release elsewhere, and addresses that show
// one such picture to whoever has the address. Its methods may be called concurrently.
type Pictures struct {
	key      []byte
	external string
	journal  Facts
}

// NewPictures gives pictures whose addresses are signed by key and begin with external, where
// people reach Gatekeeper; without that they have no address.
func NewPictures(key []byte, external string, journal Facts) *Pictures {
	return &Pictures{key, strings.TrimRight(external, "/"), journal}
}

// Address gives where the picture is shown for 30 days after at, to anybody; "" without an external address.
func (p *Pictures) Address(of notify.Moment, at time.Time) string {
	if p.external == "" {
		return ""
	}
	expires := strconv.FormatInt(at.Add(signedFor).Unix(), 10)
	q := url.Values{"seq": {strconv.FormatInt(of.Seq, 10)}, "expires": {expires}, "signature": {p.sign(of, "png", expires)}}
	return p.external + "/pictures/" + escape(of.Release) + "/" + escape(of.Rule) + ".png?" + q.Encode()
}

// Draw gives the picture as a PNG.
func (p *Pictures) Draw(ctx context.Context, of notify.Moment) ([]byte, error) {
	return p.drawAs(ctx, "png", of)
}

// sign covers everything that an address says, each part with its length in front.
func (p *Pictures) sign(of notify.Moment, kind, expires string) string {
	mac := hmac.New(sha256.New, p.key)
	for _, part := range []string{"picture", of.Release, strconv.FormatInt(of.Seq, 10), of.Rule, kind, expires} {
		mac.Write([]byte(strconv.Itoa(len(part)) + ":" + part))
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// drawAs draws what the journal had at a moment.
func (p *Pictures) drawAs(ctx context.Context, kind string, of notify.Moment) ([]byte, error) {
	facts, err := p.journal.Facts(ctx, of.Release)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(facts, func(f gatekeeper.Fact) bool { return f.Seq > of.Seq }); i >= 0 {
		facts = facts[:i]
	}
	r, err := gatekeeper.Replay(of.Release, facts)
	if err != nil {
		return nil, err
	}
	return draw(ctx, kind, wide, r, facts, of.Rule)
}

// signed serves a picture to whoever has its address.
func (s *site) signed(w http.ResponseWriter, r *http.Request) {
	image, kind, err := s.Pictures.admit(r)
	if err != nil {
		s.refuse(visit{w: w, r: r, root: "../../"}, err)
		return
	}
	w.Header().Set("Cache-Control", "private, max-age=86400, immutable")
	serve(w, kind, image)
}

// admit draws what a request has the address of. Who has a wrong one is told nothing of what there is.
func (p *Pictures) admit(r *http.Request) (image []byte, kind string, err error) {
	refused := gatekeeper.Errorf(gatekeeper.CodeNotFound, "open the release's page instead", "the picture's address is not right, or is older than 30 days")
	if p == nil {
		return nil, "", refused
	}
	rule, kind, err := named(r.PathValue("picture"))
	q := r.URL.Query()
	seq, wrongSeq := strconv.ParseInt(q.Get("seq"), 10, 64)
	expires, wrongTime := strconv.ParseInt(q.Get("expires"), 10, 64)
	if cmp.Or(err, wrongSeq, wrongTime) != nil {
		return nil, "", refused
	}
	of := notify.Moment{Release: r.PathValue("id"), Seq: seq, Rule: rule}
	if !hmac.Equal([]byte(q.Get("signature")), []byte(p.sign(of, kind, q.Get("expires")))) || time.Now().Unix() > expires {
		return nil, "", refused
	}
	image, err = p.drawAs(r.Context(), kind, of)
	if err != nil {
		return nil, "", api.ProblemOf(err)
	}
	return image, kind, nil
}
