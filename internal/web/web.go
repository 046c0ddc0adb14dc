// Package web is Gatekeeper's face for people: pages made on the server that show what is wrong,
// what happens next and what can be done about it. Without JavaScript they can be read and used;
// with it they follow what happens.
package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
)

// Engine is what the pages need of the engine; the meanings are those of [engine.Engine]. Its
// methods may be called concurrently.
type Engine interface {
	api.Reader
	api.Verbs
	api.Switch
	Unwritten(ctx context.Context, id string) ([]gatekeeper.Judged, error)
	LastTurn(ctx context.Context) (*gatekeeper.AuditRecord, error)
}

// Config is what the pages show. Engine and Log are needed.
type Config struct {
	Engine   Engine
	Pictures *Pictures // for chats; nil: there are none at /pictures/
	Log      *slog.Logger
}

// Web makes the pages.
type Web struct {
	Config
	files files
}

// New reads what the pages are made of. It starts nothing.
func New(c Config) (*Web, error) {
	if c.Engine == nil || c.Log == nil {
		return nil, errors.New("web: needs an engine and a log")
	}
	f, err := readFiles()
	if err != nil {
		return nil, err
	}
	return &Web{c, f}, nil
}

// site is the pages behind one door.
type site struct {
	*Web
	door api.Door
}

// Pages gives the handler of every page, for those whom the door lets in.
func (w *Web) Pages(door api.Door) api.Pages {
	s := &site{w, door}
	mux := api.NewMux()
	mux.HandleFunc("GET /static/{file}", s.static)
	mux.HandleFunc("GET /login", s.askToken)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /logout", s.change(s.logout))
	mux.HandleFunc("GET /{$}", s.read("./", s.list))
	mux.HandleFunc("GET /kill-switch", s.read("./", s.killSwitch))
	mux.HandleFunc("POST /kill-switch", s.change(s.turn))
	mux.HandleFunc("GET /releases/{id}", s.read("../", s.release))
	mux.HandleFunc("POST /releases/{id}/{verb}", s.change(s.ask))
	mux.HandleFunc("GET /releases/{id}/{picture}", s.read("../../", s.picture))
	mux.HandleFunc("GET /pictures/{id}/{picture}", s.signed)
	return secured{mux}
}

// policy lets a page load nothing but what this daemon serves, run no script but the one file, and
// be framed by nobody.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// secured serves pages with the headers that keep others out of them.
type secured struct{ *api.Mux }

// ServeHTTP serves a page.
func (s secured) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", policy)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("X-Frame-Options", "DENY")
	head.Set("Referrer-Policy", "same-origin") // forms need an Origin of their own
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Cache-Control", "no-store")
	s.Mux.ServeHTTP(w, r)
}

// visit is one request of somebody who was let in.
type visit struct {
	w http.ResponseWriter
	r *http.Request
	api.Visitor
	root string // from the page to the front page, relative: a proxy may serve them below a prefix
}

// read serves what is for reading; root leads from the page to the front page.
func (s *site) read(root string, serve func(visit)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := s.door.Admit(r)
		if err != nil {
			s.turnAway(w, r, root, err)
			return
		}
		serve(visit{w, r, who, root})
	}
}

// change serves a form that changes something.
func (s *site) change(serve func(visit)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		root := "./"
		if r.PathValue("verb") != "" {
			root = "../../"
		}
		who, err := s.door.Change(r)
		if err != nil {
			s.turnAway(w, r, root, err)
			return
		}
		serve(visit{w, r, who, root})
	}
}

// turnAway asks for a token where that helps, and says why not where it does not.
func (s *site) turnAway(w http.ResponseWriter, r *http.Request, root string, err error) {
	if p, ok := errors.AsType[*api.Problem](err); ok && p.Status == http.StatusUnauthorized && s.door.Needed() {
		to := root + "login"
		if id := r.PathValue("id"); id != "" {
			to += "?release=" + escape(id)
		}
		see(w, to)
		return
	}
	s.refuse(visit{w: w, r: r, root: root}, err)
}

// see sends the browser to another page. The address stays relative, which http.Redirect would not
// leave it.
func see(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// refuse shows an error as a page.
func (s *site) refuse(v visit, err error) {
	p := api.ProblemOf(err)
	if p.Status >= http.StatusInternalServerError {
		s.Log.Error("a page could not be shown", "path", v.r.URL.Path, "err", err)
	}
	s.show(v, p.Status, "problem", page{Title: p.Title, Problem: p})
}
