package geminitest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/auth"
	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/vertextest"
)

// child is set for a process that is configured as in production: to a Process as JSON.
const child = "GEMINITEST_PROCESS"

// Process is a process that knows of no stand-in, and what must come of it.
type Process struct {
	// Transport and Location are the adapter's. Credentials are "given", "default" for those of the machine, "refused", or
	// "down" where tokens are not to be had for now.
	Transport, Location, Credentials string
	// Want is what both methods must answer, or the kind of their errors; Answer when empty.
	Want string `json:"-"`
	// Host is the name of Vertex AI that must be called; empty for none.
	Host string `json:"-"`
}

// Answer is what the stand-in answers by itself.
const Answer = "The stand-in for Gemini has read your question."

// Opener opens a model as production does; nil credentials are those of the machine.
type Opener func(ctx context.Context, p Process, credentials *auth.Credentials) (interface {
	llm.Model
	io.Closer
}, error)

// Main is the TestMain of a package that calls Production.
func Main(m *testing.M, open Opener) {
	if text := os.Getenv(child); text != "" {
		if err := produce(context.Background(), text, open); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type tokens string

// Token implements auth.TokenProvider.
func (t tokens) Token(context.Context) (*auth.Token, error) {
	switch t {
	case "refused":
		return nil, &auth.Error{Response: &http.Response{StatusCode: http.StatusBadRequest}, Body: []byte("invalid_grant")}
	case "down":
		return nil, &auth.Error{Response: &http.Response{StatusCode: http.StatusServiceUnavailable}}
	}
	return &auth.Token{Value: "the-token", Type: "Bearer"}, nil
}

// produce opens a model, calls it, and writes what came of it.
func produce(ctx context.Context, text string, open Opener) error {
	var p Process
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	var credentials *auth.Credentials
	if p.Credentials != "default" {
		credentials = auth.NewCredentials(&auth.CredentialsOptions{TokenProvider: tokens(p.Credentials)})
	}
	m, err := open(ctx, p, credentials)
	if err != nil {
		return err
	}
	log.Print("a line of the process")
	var answer string
	r, err := m.Generate(ctx, request())
	if err != nil {
		answer = string(llm.AsError(err).Kind)
	} else {
		answer = r.Text
	}
	streamed, _, err := collect(ctx, m, request())
	if err != nil {
		streamed = string(llm.AsError(err).Kind)
	}
	return errors.Join(json.NewEncoder(os.Stdout).Encode([]string{answer, streamed}), m.Close())
}

// Production starts processes: the names that they call, TLS and the token are as in production, and what libraries would
// write with package log does not appear.
func Production(t *testing.T, processes map[string]Process) {
	t.Parallel()
	for name, p := range processes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := vertextest.Start(t, vertextest.Options{})
			tunnel := vertextest.NewTunnel(t, s)
			got, stderr := run(t, p, tunnel.Env)
			if p.Want == "" {
				p.Want = Answer
			}
			if diff := cmp.Diff([]string{p.Want, p.Want}, got); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			var want []string
			if p.Host != "" {
				want = append(want, p.Host)
			}
			if p.Credentials == "default" {
				want = append(want, "oauth2.googleapis.com")
			}
			hosts := tunnel.Hosts()
			slices.Sort(hosts)
			if diff := cmp.Diff(want, hosts); diff != "" {
				t.Errorf("hosts (-want +got):\n%s", diff)
			}
			for _, r := range s.Requests() {
				if r.Authorization != "Bearer the-token" || r.Location != p.Location || r.Transport != p.Transport {
					t.Errorf("a request over %s to %s with authorization %q", r.Transport, r.Location, r.Authorization)
				}
			}
			if strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "a line of the process") {
				t.Errorf("stderr, where the process writes one line of its own:\n%s", stderr)
			}
		})
	}
}

// run runs a process and returns its answers and what it wrote to stderr.
func run(t *testing.T, p Process, env []string) (answers []string, stderr string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	// Credentials as gcloud leaves them on a developer's machine.
	file := filepath.Join(t.TempDir(), "credentials.json")
	if err := os.WriteFile(file, []byte(`{"type":"authorized_user","client_id":"i","client_secret":"s","refresh_token":"r"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append([]string{
		child + "=" + string(text), "HOME=" + t.TempDir(), "GOOGLE_APPLICATION_CREDENTIALS=" + file,
		// What the SDKs would read instead of their options.
		"GOOGLE_CLOUD_PROJECT=another", "GOOGLE_CLOUD_LOCATION=us-east1", "GOOGLE_VERTEX_BASE_URL=https://another.googleapis.com",
		"GOOGLE_API_KEY=another", "GEMINI_API_KEY=one-more",
	}, env...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &errs)
	}
	if err := json.Unmarshal([]byte(out.String()), &answers); err != nil {
		t.Fatalf("stdout %q: %v", &out, err)
	}
	return answers, errs.String()
}
