package api_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// described is one path of Datadog's own description of its API.
type described struct {
	pattern *regexp.Regexp
	item    *openapi3.PathItem
}

var parameter = regexp.MustCompile(`\\\{[^}]*\}`)

// description reads all paths from the API client's module, once. A path without parameters is before one with.
var description = sync.OnceValues(func() ([]described, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/DataDog/datadog-api-client-go/v2").Output()
	if err != nil {
		return nil, fmt.Errorf("find the API client's module: %w", err)
	}
	var all []described
	for _, version := range []string{"v1", "v2"} {
		file := filepath.Join(strings.TrimSpace(string(out)), ".generator", "schemas", version, "openapi.yaml")
		doc, err := openapi3.NewLoader().LoadFromFile(file)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		for path, item := range doc.Paths.Map() {
			all = append(all, described{regexp.MustCompile("^" + parameter.ReplaceAllString(regexp.QuoteMeta(path), "[^/]+") + "$"), item})
		}
	}
	slices.SortFunc(all, func(a, b described) int {
		x, y := a.pattern.String(), b.pattern.String()
		return cmp.Or(strings.Count(x, "[^/]+")-strings.Count(y, "[^/]+"), strings.Compare(x, y))
	})
	return all, nil
})

// operation finds what the description says of a method and path.
func operation(all []described, method, path string) *openapi3.Operation {
	for _, d := range all {
		if d.pattern.MatchString(path) {
			if op := d.item.GetOperation(method); op != nil {
				return op
			}
		}
	}
	return nil
}

// undescribed are statuses that the description lacks.
var undescribed = map[string]string{
	"PUT /api/v2/on-call/teams/*/routing-rules 400":   "the description has only the good answer",
	"PUT /api/v2/on-call/teams/*/routing-rules 404":   "the description has only the good answer",
	"GET /api/v2/on-call/teams/*/routing-rules 404":   "the description has only the good answer",
	"PUT /api/v1/synthetics/variables/* 404":          "what is not there can't be changed",
	"POST /api/v1/monitor/1/validate 404":             "what is not there can't be judged",
	"POST /api/v2/on-call/pages 400":                  "the description has only the good answer",
	"POST /api/v2/on-call/pages/x/resolve 404":        "the description has only the good answer",
	"POST /api/v2/team 400":                           "a body can be bad all the same",
	"PATCH /api/v2/metrics/llm.request.cost/tags 404": "what is not there can't be changed",
}

// misdescribed are faults of the description: parts of what it says against an answer that Datadog gives.
var misdescribed = map[string]string{
	`/attributes/spec": Value is not nullable`:                      "the description says that specs of a list may be null, beside a $ref, where it does not count",
	`value is not one of the allowed values ["team_routing_rules"]`: "rules.policy may be included, the description of its parameter says",
}

var identifier = regexp.MustCompile(`/[0-9a-f]{8}-[0-9a-f-]{27}`)

// judge compares an answer with Datadog's description: its status, and the shape of its body.
func judge(t *testing.T, method, path string, r reply) {
	t.Helper()
	d, err := description()
	if err != nil {
		t.Fatal(err)
	}
	path, _, _ = strings.Cut(path, "?")
	op := operation(d, method, path)
	if op == nil || r.status == http.StatusRequestEntityTooLarge || r.status >= http.StatusInternalServerError {
		if r.status < http.StatusBadRequest {
			t.Errorf("%s %s is not in the description, but answers %d", method, path, r.status)
		}
		return
	}
	what := fmt.Sprintf("%s %s %d", method, identifier.ReplaceAllString(path, "/*"), r.status)
	answer := op.Responses.Value(fmt.Sprint(r.status))
	if answer == nil {
		if undescribed[what] == "" {
			t.Errorf("%s is not in the description, for %s", what, r.raw)
		}
		return
	}
	media := answer.Value.Content.Get("application/json")
	if media == nil || media.Schema == nil {
		return
	}
	var body any
	if r.raw == "" || json.Unmarshal([]byte(r.raw), &body) != nil {
		t.Errorf("%s: no JSON: %q", what, r.raw)
		return
	}
	if err := media.Schema.Value.VisitJSON(body, openapi3.MultiErrors(), openapi3.VisitAsResponse()); err != nil {
		for problem := range strings.SplitSeq(err.Error(), " | ") {
			excused := false
			for part := range misdescribed {
				excused = excused || strings.Contains(problem, part)
			}
			if !excused {
				problem, _, _ = strings.Cut(problem, "\nSchema:")
				t.Errorf("%s: %s", what, problem)
			}
		}
	}
}
