package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/datadog"
	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/api"
)

// lrcp runs the program, and returns what it said and its status.
func lrcp(t *testing.T, args ...string) (said string, status int) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), args, &out, &out)
	var ended exitStatus
	switch {
	case errors.As(err, &ended):
		return out.String(), int(ended)
	case err != nil:
		return out.String() + err.Error(), 1
	}
	return out.String(), 0
}

// folderOfMonitor is a folder with one monitor, which has the query.
func folderOfMonitor(t *testing.T, query string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "monitors"), 0o700); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]any{"name": "M", "type": "query alert", "query": query, "message": "m"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "monitors", "m.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTheAssetsAreValidAndTheirTestsPass(t *testing.T) {
	if said, status := lrcp(t, "assets", "validate"); status != 0 || !strings.Contains(said, "are valid") {
		t.Errorf("validate: status %d: %s", status, said)
	}
	if said, status := lrcp(t, "assets", "test"); status != 0 || !strings.Contains(said, "0 failed, 0 gaps") {
		t.Errorf("test: status %d: %s", status, said)
	}
}

func TestInvalidAssetsHaveTheStatusOfAnError(t *testing.T) {
	dir := folderOfMonitor(t, "avg(last_5m):avg:llm.request.duratoin{*} > 1")
	said, status := lrcp(t, "assets", "validate", "--json", "--dir", dir)
	if status != 1 || !strings.Contains(said, "llm.request.duratoin") {
		t.Errorf("status %d: %s", status, said)
	}
	if said, status = lrcp(t, "assets", "test", "--dir", dir); status != 1 || !strings.Contains(said, "no case matches") {
		t.Errorf("status %d: %s", status, said)
	}
}

// TestFromFirstApplyToDestroy goes through the life of all assets at a stand-in, by the commands that people type.
func TestFromFirstApplyToDestroy(t *testing.T) {
	server := standIn(t)
	at := func(verb string, more ...string) []string {
		return append([]string{"assets", verb, "--api", server.URL, "--state", filepath.Join(t.TempDir(), "..", "state.json"), "--settings", settingsFile(t)}, more...)
	}
	steps := []struct {
		args   []string
		status int
		want   string
	}{
		{at("plan"), 1, "set DD_API_KEY and DD_APP_KEY"},
		{at("plan"), 2, "+ create monitor/error-burst"},
		{at("apply"), 1, "say --yes"},
		{at("apply", "--yes"), 0, "steps done"},
		{at("plan"), 0, "Nothing to do"},
		{at("plan", "--json"), 0, `"steps"`},
		{at("drift"), 0, "No drift"},
		{at("drift"), 2, "team/llm-platform"},
		{at("import", "nonsense"), 1, "nonsense"},
		{at("import", "monitor/error-burst"), 0, "1 assets are ours"},
		{at("destroy", "--yes"), 0, "steps done"},
		{at("destroy", "--yes"), 0, "Nothing to do"},
	}
	for i, s := range steps {
		switch i {
		case 1:
			t.Setenv("DD_API_KEY", "api")
			t.Setenv("DD_APP_KEY", "app")
			t.Setenv("LRCP_SECRET_CONTROL", "the-secret-of-the-control-functions")
			t.Setenv("LRCP_SECRET_API_KEY", "the-key-of-the-data-functions")
		case 7:
			change(t, server.URL)
		}
		said, status := lrcp(t, s.args...)
		if status != s.status || !strings.Contains(said, s.want) {
			t.Fatalf("step %d, %v: status %d, want %d with %q:\n%s", i, s.args[1:2], status, s.status, s.want, said)
		}
		if strings.Contains(said, "the-secret-of") || strings.Contains(said, "the-key-of") {
			t.Errorf("step %d shows a secret:\n%s", i, said)
		}
	}
}

func TestMissingSettingsAreAllNamedAtOnce(t *testing.T) {
	t.Setenv("DD_API_KEY", "api")
	t.Setenv("DD_APP_KEY", "app")
	said, status := lrcp(t, "assets", "plan", "--api", standIn(t).URL, "--state", filepath.Join(t.TempDir(), "state.json"))
	if status != 1 {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{"${setting:slack_channel}", "${secret:control}", "${function:qa.url}", "oncall_primary"} {
		if !strings.Contains(said, want) {
			t.Errorf("no %s in:\n%s", want, said)
		}
	}
}

// standIn is the stand-in's API with the people whom the assets name.
func standIn(t *testing.T) *httptest.Server {
	t.Helper()
	var users []api.User
	for ref := range refs(t) {
		if ref.Kind == assets.User {
			email, _ := assets.Sample(assets.Setting, ref.Name)
			id, _ := assets.Sample(assets.User, ref.Name)
			users = append(users, api.User{ID: id, Email: email, Name: ref.Name})
		}
	}
	a, err := api.New(api.Options{Now: time.Now, Users: users})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return server
}

// refs are the placeholders of all assets.
func refs(t *testing.T) map[assets.Ref]bool {
	t.Helper()
	loaded, err := assets.Load(datadog.FS)
	if err != nil {
		t.Fatal(err)
	}
	all := map[assets.Ref]bool{}
	for _, a := range loaded {
		for _, r := range assets.Refs(a) {
			all[r] = true
		}
	}
	return all
}

// settingsFile has a value for every setting and function.
func settingsFile(t *testing.T) string {
	t.Helper()
	doc := map[string]map[string]string{"settings": {}, "functions": {}}
	for ref := range refs(t) {
		switch ref.Kind {
		case assets.Setting:
			doc["settings"][ref.Name], _ = assets.Sample(ref.Kind, ref.Name)
		case assets.User:
			doc["settings"][ref.Name], _ = assets.Sample(assets.Setting, ref.Name)
		case assets.Function:
			name, _, _ := strings.Cut(ref.Name, ".")
			doc["functions"][name], _ = assets.Sample(ref.Kind, ref.Name)
		}
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// change gives the team another name, as a person would at Datadog.
func change(t *testing.T, url string) {
	t.Helper()
	call := func(method, path, body string, into any) {
		req, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Dd-Api-Key": {"a"}, "Dd-Application-Key": {"b"}, "Content-Type": {"application/json"}}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := resp.Body.Close(); err != nil {
				t.Error(err)
			}
		}()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %s", method, path, resp.Status)
		}
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			t.Fatal(err)
		}
	}
	var list struct {
		Data []struct{ ID string }
	}
	call(http.MethodGet, "/api/v2/team", "", &list)
	var changed any
	call(http.MethodPatch, "/api/v2/team/"+list.Data[0].ID, `{"data":{"type":"team","attributes":{"name":"Another name","handle":"llm-platform"}}}`, &changed)
}
