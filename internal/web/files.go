package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

//go:embed templates static
var embedded embed.FS

// files are what every page is made of.
type files struct {
	pages  map[string]*template.Template
	static map[string][]byte
	stamp  map[string]string // of each static file: its address changes with its content
}

var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

func readFiles() (files, error) {
	f := files{pages: map[string]*template.Template{}, static: map[string][]byte{}, stamp: map[string]string{}}
	all, err := fs.ReadDir(embedded, "static")
	if err != nil {
		return f, err
	}
	for _, one := range all {
		content, err := fs.ReadFile(embedded, "static/"+one.Name())
		if err != nil {
			return f, err
		}
		sum := sha256.Sum256(content)
		f.static[one.Name()], f.stamp[one.Name()] = content, hex.EncodeToString(sum[:6])
	}
	helping := template.FuncMap{
		"static":  func(name string) string { return "static/" + name + "?v=" + f.stamp[name] },
		"escape":  escape,
		"instant": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"machine": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"span":    func(d gatekeeper.Duration) string { return timeline.Span(time.Duration(d)) },
	}
	for _, name := range []string{"list", "release", "kill-switch", "login", "problem"} {
		page, err := template.New("page.html").Funcs(helping).ParseFS(embedded, "templates/page.html", "templates/parts.html", "templates/"+name+".html")
		if err != nil {
			return f, err
		}
		f.pages[name] = page
	}
	return f, nil
}

// escape makes one segment of a path of any text.
func escape(segment string) string { return url.PathEscape(segment) }

// page is what all pages have; Body is the one's own.
type page struct {
	Root    string
	Title   string
	Says    string // is read out when it changes
	Now     time.Time
	URL     string // of the page itself; empty: it does not follow what happens
	Events  string // the stream that tells when it is out of date; empty: nothing more comes
	Visitor api.Visitor
	Switch  engine.KillSwitch
	Problem *api.Problem // with what was asked by a form
	Body    any
}

// show answers with a page.
func (s *site) show(v visit, status int, name string, p page) {
	p.Root, p.Visitor, p.Now, p.Switch = v.root, v.Visitor, time.Now(), s.Engine.KillSwitch()
	var b bytes.Buffer
	if err := s.files.pages[name].Execute(&b, p); err != nil {
		s.Log.Error("a page could not be made", "page", name, "err", err)
		http.Error(v.w, "The page could not be made; the daemon's log says why. The releases go on.", http.StatusInternalServerError)
		return
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(b.Bytes()) // the browser has gone: nobody is left to tell
}

// static serves the script, the style and the icon to everybody: nothing in them is secret.
func (s *site) static(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	content, ok := s.files.static[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", contentTypes[path.Ext(name)])
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(content) // the browser has gone: nobody is left to tell
}
