package assets_test

import (
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/datadog"
	function "github.com/llm-reliability/control-plane/functions/remediation"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/controltest"
	"github.com/llm-reliability/control-plane/shared/remediation"
)

// curl is a command of a playbook that calls the remediation function: its path, and its body where it has one.
var curl = regexp.MustCompile(`(?s)curl -s "\$LRCP_URL(/remediation[^"]*)" -H "Authorization: Bearer \$LRCP_CONTROL_SECRET"(?: -H "Content-Type: application/json" -d "(.*?[^\\])")?\n`)

// TestPlaybookCommandsWork sends what the playbooks tell people to send to the real function.
func TestPlaybookCommandsWork(t *testing.T) {
	pages, err := fs.Glob(datadog.FS, "playbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		t.Run(page, func(t *testing.T) {
			raw, err := fs.ReadFile(datadog.FS, page)
			if err != nil {
				t.Fatal(err)
			}
			store := new(controltest.Memory)
			handler := remediationFunction(t, store)
			found := curl.FindAllStringSubmatch(string(raw), -1)
			if got, want := len(found), strings.Count(string(raw), "$LRCP_URL/remediation"); got != want || got == 0 {
				t.Fatalf("%d of %d commands were understood", got, want)
			}
			for _, command := range found {
				path, body := command[1], command[2]
				now := time.Now().UTC()
				if err := store.Commit(t.Context(), version(t, store), []control.Override{{
					ID: "override-1", Action: control.SwitchModel, Params: control.Params{Model: "economy"}, Created: now, Start: now, End: now.Add(time.Hour),
					Source: control.Source{Kind: control.Operator, Operator: "ada"},
				}}); err != nil {
					t.Fatal(err)
				}
				body = strings.NewReplacer(`\"`, `"`, "$now", now.Format("2006-01-02T15:04:05Z"), "$USER", "ada", "$OVERRIDE", "override-1").Replace(body)
				req := httptest.NewRequest(http.MethodGet, path, nil)
				if body != "" {
					req = httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
					req.Header.Set("Content-Type", "application/json")
				}
				rec := httptest.NewRecorder()
				handler.ServeHTTP(rec, req)
				answer, err := io.ReadAll(rec.Result().Body)
				if err != nil {
					t.Fatal(err)
				}
				if rec.Code != http.StatusOK || strings.Contains(string(answer), string(remediation.NothingToRevert)) {
					t.Errorf("%s %s answered %d: %s", path, body, rec.Code, answer)
				}
			}
		})
	}
}

func remediationFunction(t *testing.T, store control.Store) http.Handler {
	t.Helper()
	c, err := remediation.New(remediation.Options{Store: store, Base: control.Settings{Model: "standard"}, Limits: remediation.Limits{
		Models: []string{"economy", "standard", "quality"}, Functions: []string{"qa", "completion"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	h, err := function.New(function.Options{Controller: c})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func version(t *testing.T, store control.Store) control.Version {
	t.Helper()
	state, err := store.State(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return state.Version
}
