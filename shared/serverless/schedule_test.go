package serverless_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// The events of a rule and of the EventBridge Scheduler.
const (
	ruleEvent = `{"version":"0","id":"53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa","detail-type":"Scheduled Event","source":"aws.events",` +
		`"account":"123456789012","time":"2026-11-25T19:00:00Z","region":"eu-west-1",` +
		`"resources":["arn:aws:events:eu-west-1:123456789012:rule/insights"],"detail":{}}`
	schedulerEvent = `{"version":"0","id":"e-1","detail-type":"Scheduled Event","source":"aws.scheduler","account":"123456789012",` +
		`"time":"2026-11-25T19:00:00Z","region":"eu-west-1","resources":["arn:aws:scheduler:eu-west-1:123456789012:schedule/default/insights"],"detail":"{}"}`
)

// job is a function behind a secret that nobody in these tests knows. Its handler says what it was asked, and by whom.
func job(t *testing.T, sink *telemetry.Memory, schedule *serverless.Job) (func(context.Context, json.RawMessage) (any, error), error) {
	t.Helper()
	secrets, err := serverless.ParseControlSecrets([]env.Secret{"nobody-knows-this-control-secret"})
	if err != nil {
		t.Fatal(err)
	}
	client, err := telemetry.New(telemetry.Options{Sink: sink, Logger: slog.New(slog.DiscardHandler), Function: "f"})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /job", func(w http.ResponseWriter, r *http.Request) {
		_, hurry := r.Context().Deadline()
		_ = json.NewEncoder(w).Encode(map[string]any{
			"caller": serverless.Caller(r.Context()), "id": serverless.RequestID(r.Context()), "emit": r.Header.Get("X-Emit"), "hurry": hurry,
		})
	})
	mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("s3cret") })
	mux.HandleFunc("GET /unready", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "s3cret", http.StatusServiceUnavailable) })
	return serverless.Dispatch(serverless.Function{Handler: mux, Auth: secrets, Schedule: schedule}, serverless.Options{Name: "f", Telemetry: client})
}

func TestScheduleEventIsTheJobsRequest(t *testing.T) {
	tests := map[string]struct {
		event, path string
		status      int
		want, err   string
	}{
		"the event of a rule runs the job": {
			ruleEvent, "/job", 200,
			`{"caller":"schedule","emit":"yes","hurry":true,"id":"53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa"}`, "",
		},
		"that of the scheduler too":       {schedulerEvent, "/job", 200, `{"caller":"schedule","emit":"yes","hurry":true,"id":"e-1"}`, ""},
		"what the job refuses is no loss": {schedulerEvent, "/none", 404, "", ""},
		"an error of the job fails the invocation": {
			schedulerEvent, "/unready", 503, "", "scheduled GET /unready: status 503 for request e-1",
		},
		"so does a panic":                  {schedulerEvent, "/panic", 500, "", "scheduled GET /panic: status 500 for request e-1"},
		"another event of AWS is no event": {strings.ReplaceAll(ruleEvent, "Scheduled Event", "Config Change"), "/job", 0, "", "neither a function URL request"},
		"another source is no schedule":    {strings.ReplaceAll(ruleEvent, "aws.events", "custom"), "/job", 0, "", "neither a function URL request"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var sink telemetry.Memory
			dispatch, err := job(t, &sink, &serverless.Job{Method: "GET", Path: tt.path, Header: http.Header{"x-emit": {"yes"}}})
			if err != nil {
				t.Fatal(err)
			}
			answer, err := dispatch(t.Context(), json.RawMessage(tt.event))
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("error is %v, want %q", err, tt.err)
			}
			if tt.want != "" {
				var got struct {
					Status int             `json:"status"`
					Body   json.RawMessage `json:"body"`
				}
				decode(t, answer, &got)
				if diff := cmp.Diff(string(got.Body), tt.want); diff != "" || got.Status != tt.status {
					t.Errorf("status %d, want %d; body (-got +want):\n%s", got.Status, tt.status, diff)
				}
			}
			var want []int
			if tt.status != 0 {
				want = []int{tt.status}
			}
			if diff := cmp.Diff(sink.Statuses(), want); diff != "" || sink.Flushes() != len(want) {
				t.Errorf("%d flushes, want %d; span statuses (-got +want):\n%s", sink.Flushes(), len(want), diff)
			}
		})
	}
}

func TestFunctionWithoutScheduleRefusesTheEvent(t *testing.T) {
	dispatch, err := job(t, &telemetry.Memory{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dispatch(t.Context(), json.RawMessage(ruleEvent)); err == nil || !strings.Contains(err.Error(), "has no job") {
		t.Errorf("error is %v, want one that says that there is no job", err)
	}
}

func TestJobThatMakesNoRequestIsRefusedAtStart(t *testing.T) {
	for name, bad := range map[string]serverless.Job{
		"no method": {Path: "/job"}, "no path": {Method: "GET"}, "a URL": {Method: "GET", Path: "https://example.com/job"},
		"a method of two words": {Method: "GET IT", Path: "/job"}, "a path that does not parse": {Method: "GET", Path: "/%zz"},
	} {
		if _, err := job(t, &telemetry.Memory{}, &bad); err == nil || !strings.Contains(err.Error(), "schedule: ") {
			t.Errorf("%s: error is %v, want one about the schedule", name, err)
		}
	}
}

// TestNoRequestIsTakenForASchedule tries what the caller of a function URL can put into an event, and more: nobody but
// Lambda writes the rest of it. Each must meet authentication, which nothing here passes.
func TestNoRequestIsTakenForASchedule(t *testing.T) {
	quoted, err := json.Marshal(ruleEvent)
	if err != nil {
		t.Fatal(err)
	}
	request := func(headers, body string) string {
		return `{"version":"2.0","rawPath":"/job","headers":` + headers + `,"requestContext":{"domainName":"f.on.aws","http":{"method":"GET","path":"/job"}},` +
			`"body":` + body + `,"isBase64Encoded":false}`
	}
	tests := map[string]string{
		"the body is a schedule event":     request(`{"content-type":"application/json"}`, string(quoted)),
		"headers have the names of it":     request(`{"source":"aws.events","detail-type":"Scheduled Event","id":"1"}`, `""`),
		"headers of the job and its names": request(`{"x-emit":"yes","x-caller":"schedule","authorization":"Bearer schedule"}`, `""`),
		"all fields of both events":        strings.TrimSuffix(request(`{}`, `""`), "}") + `,"source":"aws.events","detail-type":"Scheduled Event"}`,
		"a direct invocation with them":    `{"method":"GET","path":"/job","headers":{"source":"aws.events","detail-type":"Scheduled Event"},"body":` + ruleEvent + `}`,
	}
	for name, event := range tests {
		t.Run(name, func(t *testing.T) {
			var sink telemetry.Memory
			dispatch, err := job(t, &sink, &serverless.Job{Method: "GET", Path: "/job"})
			if err != nil {
				t.Fatal(err)
			}
			answer, err := dispatch(t.Context(), json.RawMessage(event))
			if err != nil {
				t.Fatal(err)
			}
			if stream, ok := answer.(io.Reader); ok {
				if _, err := io.ReadAll(stream); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(sink.Statuses(), []int{http.StatusUnauthorized}); diff != "" {
				t.Errorf("span statuses (-got +want):\n%s", diff)
			}
		})
	}
}

func decode(t *testing.T, from, into any) {
	t.Helper()
	doc, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc, into); err != nil {
		t.Fatalf("read %s: %v", doc, err)
	}
}
