package theater

import (
	"embed"
	"errors"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/llm-reliability/control-plane/shared/httpjson"
)

// built is the page as Vite made it. The folder is always there, with nothing in it but its name's keeper before a build.
//
//go:embed all:web/dist
var built embed.FS

// Built is whether the page was built into this binary.
func Built() bool {
	_, err := fs.Stat(built, "web/dist/index.html")
	return err == nil
}

// missing is what / answers without a build.
const missing = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<title>Failure Theater: not built</title></head>
<body><main><h1>The Failure Theater is not built</h1>
<p>The functions run. Only this page is missing: it is built with Node 20.19 or later, and then built into the program.</p>
<pre>npm ci --prefix functions/theater/web
npm run build --prefix functions/theater/web</pre>
<p>Then start again; <code>make run</code> does all of it where Node is installed.</p></main></body></html>
`

// isOpen is whether a request needs no secret: reading the page, its files, and what it needs before a secret was given.
func isOpen(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	return r.URL.Path == "/theater/config" || !strings.HasPrefix(r.URL.Path, "/theater/")
}

// policy is the content security policy: everything from here, and RUM's intake where there is one. Charts set styles by script,
// which the policy allows, and never by attributes in HTML, which it does not.
func policy(intake string) string {
	return strings.TrimSpace("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self' " + intake)
}

// origin is where the browser sends RUM's events; empty without RUM.
func (r *RUM) origin() (string, error) {
	if r == nil {
		return "", nil
	}
	if r.ApplicationID == "" || r.ClientToken == "" {
		return "", errors.New("theater: RUM needs ApplicationID and ClientToken")
	}
	if r.Intake != "" {
		u, err := url.Parse(r.Intake)
		if err != nil || u.Host == "" || strings.ContainsAny(u.Host, " ;,'") {
			return "", errors.New("theater: the intake of RUM must be the URL of a server")
		}
		return u.Scheme + "://" + u.Host, nil
	}
	if strings.IndexFunc(r.Site, func(c rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-.", c) }) >= 0 || !strings.Contains(r.Site, ".") {
		return "", errors.New("theater: the site of RUM must be like datadoghq.com")
	}
	// The SDK derives the host from the site in the same way.
	parts := strings.Split(r.Site, ".")
	last := len(parts) - 1
	return "https://browser-intake-" + strings.Join(parts[:last], "-") + "." + parts[last], nil
}

// page serves the files of the build. Names of files below assets change with their content, so that they are kept for ever;
// the page itself is asked for each time.
func (f *Function) page(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", f.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	if name == "" {
		name = "index.html"
	}
	kind := mime.TypeByExtension(path.Ext(name))
	data, encoding, err := f.file(name, r.Header.Get("Accept-Encoding"))
	switch {
	case err == nil && kind != "":
	case name == "index.html":
		h.Set("Cache-Control", "no-cache")
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Length", strconv.Itoa(len(missing)))
		// A client that is gone needs no page.
		_, _ = w.Write([]byte(missing))
		return
	default:
		fail(w, r, &httpjson.Problem{Status: http.StatusNotFound, Detail: "there is nothing here"})
		return
	}
	h.Set("Content-Type", kind)
	h.Set("Vary", "Accept-Encoding")
	if encoding != "" {
		h.Set("Content-Encoding", encoding)
	}
	h.Set("Cache-Control", "no-cache")
	if strings.HasPrefix(name, "assets/") {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Set("Content-Length", strconv.Itoa(len(data)))
	// As above.
	_, _ = w.Write(data)
}

// file reads a file of the build, compressed where the client takes that and the build made it.
func (f *Function) file(name, accepted string) (data []byte, encoding string, err error) {
	for _, c := range []struct{ encoding, suffix string }{{"br", ".br"}, {"gzip", ".gz"}} {
		if !strings.Contains(accepted, c.encoding) {
			continue
		}
		if data, err := fs.ReadFile(f.opts.Web, name+c.suffix); err == nil {
			return data, c.encoding, nil
		}
	}
	data, err = fs.ReadFile(f.opts.Web, name)
	return data, "", err
}
