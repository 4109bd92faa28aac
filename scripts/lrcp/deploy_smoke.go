package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/llm-reliability/control-plane/functions/routes"
	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/settings"
	"github.com/llm-reliability/control-plane/infra/deploy"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

// Bounds of the smoke test: of one request, of the pauses between two, and of what is read of an answer.
const (
	smokeRequest   = 40 * time.Second
	smokeFirst     = 250 * time.Millisecond
	smokeLongest   = 5 * time.Second
	smokeBodyLimit = 1 << 20
)

// The question whose answer is in its document, so that any model can answer it.
const smokeQuestion = `{"question":"When was the mill built?","document":"The mill stands by the river. It was built in 1732 by the abbey."}`

// smokeTest asks each function whether it works: its health, that it refuses who shows nothing, and, of qa, an answer.
type smokeTest struct {
	target  deploy.Target
	out     io.Writer
	wait    time.Duration
	version string
	values  *settings.Values
}

// smokeResult is one line of the table.
type smokeResult struct {
	function, url, health, version string
	checks                         []string
	took                           time.Duration
	err                            error
}

// step runs the smoke test and prints the table.
func (s *smokeTest) step() deploy.Step {
	return deploy.Step{
		Name: "smoke test",
		Plan: func(context.Context) (deploy.Change, error) {
			return deploy.Change{Action: deploy.Check, Details: []string{"GET /health of each function, requests without a key, one question to qa"}}, nil
		},
		Do: func(ctx context.Context, _ deploy.Change) error {
			urls, err := s.target.URLs(ctx)
			if err != nil {
				return err
			}
			if len(urls) == 0 {
				return errors.New("no function has a URL")
			}
			results := make([]smokeResult, 0, len(urls))
			deadline, cancel := context.WithTimeout(ctx, s.wait+smokeRequest)
			defer cancel()
			until := time.Now().Add(s.wait)
			for _, function := range slices.Sorted(maps.Keys(urls)) {
				results = append(results, s.test(deadline, function, urls[function], until))
			}
			for _, function := range routes.Functions() {
				if urls[function] == "" {
					results = append(results, smokeResult{function: function, url: "(none)", health: "-", checks: []string{"called by its schedule only"}})
				}
			}
			return s.show(results)
		},
	}
}

// test tests one function. What may be for the moment only, such as a URL that leads nowhere yet, is tried again until then.
func (s *smokeTest) test(ctx context.Context, function, url string, until time.Time) smokeResult {
	result := smokeResult{function: function, url: url, health: "-"}
	if result.err = s.again(ctx, until, func() error { return s.health(ctx, &result) }); result.err != nil {
		return result
	}
	result.checks = append(result.checks, "health")
	for _, r := range routes.All() {
		if r.Function != function || r.Auth == routes.Open {
			continue
		}
		if result.err = refuses(ctx, url, r); result.err != nil {
			return result
		}
	}
	result.checks = append(result.checks, "refuses strangers")
	if secret, ok := s.values.Lookup(assets.Secret, "control"); ok {
		if r, ok := routes.Find(function, http.MethodGet, "/"+function); ok && r.Auth == routes.Control {
			if result.err = s.again(ctx, until, func() error { return knows(ctx, url, r, secret) }); result.err != nil {
				return result
			}
			result.checks = append(result.checks, "knows the control secret")
		}
	}
	if function == "qa" {
		key := s.key(ctx)
		if key == "" {
			result.checks = append(result.checks, "not asked: LRCP_SECRET_API_KEY is not set")
			return result
		}
		if result.err = s.again(ctx, until, func() error { return answers(ctx, url, key) }); result.err == nil {
			result.checks = append(result.checks, "answers")
		}
	}
	return result
}

// key returns an API key of the data functions: the one that Datadog is given, or that of the probe where it may be read.
func (s *smokeTest) key(ctx context.Context) string {
	if key, ok := s.values.Lookup(assets.Secret, "api_key"); ok {
		return key
	}
	probe, ok := s.target.(interface {
		ProbeKey(ctx context.Context) (string, error)
	})
	if !ok {
		return ""
	}
	key, err := probe.ProbeKey(ctx)
	if err != nil {
		return "" // It is said that nothing was asked, and how that can be changed.
	}
	return key
}

// again tries until it works, or until then.
func (s *smokeTest) again(ctx context.Context, until time.Time, try func() error) error {
	pause := smokeFirst
	for {
		err := try()
		left := time.Until(until)
		if err == nil || left <= 0 || errors.Is(err, errFinal) {
			return err
		}
		timer := time.NewTimer(min(pause, left))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w; %w", err, context.Cause(ctx))
		case <-timer.C:
		}
		pause = min(2*pause, smokeLongest)
	}
}

// errFinal is of what will not be better a moment later.
var errFinal = errors.New("that will not change by waiting")

// health asks for the health, and for the version that was deployed.
func (s *smokeTest) health(ctx context.Context, result *smokeResult) error {
	began := time.Now()
	status, body, err := request(ctx, http.MethodGet, result.url+"/health", "", "")
	if err != nil {
		return err
	}
	result.took = time.Since(began)
	var doc serverless.HealthDocument
	if err := json.Unmarshal(body, &doc); status != http.StatusOK || err != nil {
		return fmt.Errorf("GET /health: status %d", status)
	}
	result.health = strings.TrimSpace(doc.Status + " " + doc.Provider)
	result.version = doc.Version
	switch {
	case doc.Function != result.function:
		return fmt.Errorf("GET /health: it is the function %q", doc.Function)
	case s.version != "" && doc.Version != "" && doc.Version != s.version:
		return fmt.Errorf("GET /health: version %s, and %s was deployed", doc.Version, s.version)
	case doc.ControlState == "unreachable":
		return errors.New("GET /health: the control state is unreachable")
	}
	return nil
}

// refuses checks that a route wants a key or a secret.
func refuses(ctx context.Context, url string, r routes.Route) error {
	status, _, err := request(ctx, r.Method, url+r.Path, "", "{}")
	if err != nil {
		return err
	}
	if status != http.StatusUnauthorized && status != http.StatusForbidden {
		return fmt.Errorf("%s %s without a key: status %d, want 401", r.Method, r.Path, status)
	}
	return nil
}

// knows checks that the control secret that Datadog will send is one that the function accepts.
func knows(ctx context.Context, url string, r routes.Route, secret string) error {
	status, _, err := request(ctx, r.Method, url+r.Path, secret, "")
	switch {
	case err != nil:
		return err
	case status == http.StatusUnauthorized:
		return fmt.Errorf("%s %s refuses LRCP_SECRET_CONTROL, which Datadog is to send: %w", r.Method, r.Path, errFinal)
	case status != http.StatusOK:
		return fmt.Errorf("%s %s: status %d", r.Method, r.Path, status)
	}
	return nil
}

// answers asks a question.
func answers(ctx context.Context, url, key string) error {
	status, body, err := request(ctx, http.MethodPost, url+"/qa", key, smokeQuestion)
	if err != nil {
		return err
	}
	if status == http.StatusUnauthorized {
		return fmt.Errorf("POST /qa refuses LRCP_SECRET_API_KEY, or the probe's key: %w", errFinal)
	}
	var doc struct{ Answer, Detail string }
	if err := json.Unmarshal(body, &doc); err != nil {
		return fmt.Errorf("POST /qa: status %d, and no JSON", status)
	}
	switch {
	case status != http.StatusOK:
		return fmt.Errorf("POST /qa: status %d: %s", status, doc.Detail)
	case doc.Answer == "":
		return errors.New("POST /qa: no answer")
	}
	return nil
}

// request makes one request, with a bearer token unless it is empty.
func request(ctx context.Context, method, url, token, body string) (status int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, smokeRequest)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "lrcp")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, smokeBodyLimit))
	return resp.StatusCode, answer, err
}

// show prints the table, and returns what failed.
func (s *smokeTest) show(results []smokeResult) error {
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FUNCTION\tURL\tHEALTH\tVERSION\tMS\tSMOKE TEST")
	var failed []error
	for _, r := range results {
		said := strings.Join(r.checks, ", ")
		if r.err != nil {
			said = "FAILED: " + r.err.Error()
			failed = append(failed, fmt.Errorf("%s: %w", r.function, r.err))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\n", r.function, r.url, r.health, cmp.Or(r.version, "-"), r.took.Milliseconds(), said)
	}
	return errors.Join(errors.Join(failed...), table.Flush())
}
