package notify

import (
	"context"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Moment names a picture: what a rule had said when the fact Seq of a release was written.
type Moment struct {
	Release string
	Seq     int64
	Rule    string
}

// Pictures makes the pictures that go with messages. Its methods may be called concurrently.
type Pictures interface {
	// Address gives where the picture is shown to anybody who has the address, for a time after at;
	// "" where there is none. It asks nobody.
	Address(of Moment, at time.Time) string
	// Draw gives the picture as a PNG.
	Draw(ctx context.Context, of Moment) ([]byte, error)
}

// Picture goes with a message; nil: there is nothing to show.
type Picture struct {
	Moment
	URL  string // shows it to anybody who has the URL; "" where there is none
	Says string // what is seen, for those who can't see it

	pictures Pictures
}

// Public says whether its URL can be one that others than this machine reach.
func (p *Picture) Public() bool {
	u, err := url.Parse(p.URL)
	if p.URL == "" || err != nil || u.Hostname() == "localhost" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err != nil || !ip.IsLoopback()
}

// PNG draws the picture.
func (p *Picture) PNG(ctx context.Context) ([]byte, error) { return p.pictures.Draw(ctx, p.Moment) }

// Picture gives what shows why a fact brought news of r, the release after it: the rule that is the cause.
func (c Channel) Picture(r gatekeeper.Release, f gatekeeper.Fact) *Picture {
	rule := cause(r)
	if c.Pictures == nil || rule == "" {
		return nil
	}
	of := Moment{Release: r.ID, Seq: f.Seq, Rule: rule}
	return &Picture{Moment: of, URL: c.Pictures.Address(of, f.At), Says: rule + " of " + r.Service + " " + r.Version + " against its limit", pictures: c.Pictures}
}

// cause gives the rule for which a release is held, rolled back or bad; "" where none is.
func cause(r gatekeeper.Release) string {
	var all []gatekeeper.Breach
	switch {
	case r.Hold != nil:
		all = r.Hold.Breaches
		if len(all) == 0 && len(r.Hold.Blind) > 0 {
			return r.Hold.Blind[0]
		}
	case r.Decision != nil:
		all = r.Decision.Breaches
	default:
		for _, name := range slices.Sorted(maps.Keys(r.Breaches)) {
			all = append(all, r.Breaches[name])
		}
	}
	for _, b := range all {
		if !b.External {
			return b.Rule
		}
	}
	return ""
}
