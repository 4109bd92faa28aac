package qa_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambdaurl"

	"github.com/llm-reliability/control-plane/functions/internal/functiontest"
	"github.com/llm-reliability/control-plane/functions/qa"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/quality"
	"github.com/llm-reliability/control-plane/shared/quality/judge"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// fakeJudge tells when it is asked, and answers when it is let.
type fakeJudge struct {
	asked chan quality.Answer
	let   chan struct{}
	err   error
}

func (j *fakeJudge) Judge(ctx context.Context, a quality.Answer) (judge.Verdict, error) {
	j.asked <- a
	select {
	case <-j.let:
	case <-ctx.Done():
		return judge.Verdict{Model: "m", Provider: "p"}, llm.AsError(ctx.Err())
	}
	cost, g, r := 0.002, 0.9, 0.8
	v := judge.Verdict{Model: "m", Provider: "p", CostUSD: &cost}
	if j.err != nil {
		return v, j.err
	}
	v.Reason, v.Signals = judge.Supported, quality.Signals{Groundedness: &g, AnswerRelevance: &r}
	return v, nil
}

const asked = `{"question":"Who built the mill?","document":"` + document + `"}`

// startJudged serves a function whose answers are all judged; its telemetry is that of the judge.
func startJudged(t *testing.T, j qa.Judge, timeout time.Duration) (*functiontest.Function, *telemetry.Memory) {
	t.Helper()
	memory := &telemetry.Memory{}
	tel, err := telemetry.New(telemetry.Options{Sink: memory, Logger: (*telemetry.Client)(nil).Logger(), Function: "qa"})
	if err != nil {
		t.Fatal(err)
	}
	f := functiontest.Start(t, "qa", nil, func(gw *gateway.Gateway) (http.Handler, error) {
		return qa.New(qa.Options{Gateway: gw, Judging: qa.Judging{Judge: j, Sample: 1, Timeout: timeout, Telemetry: tel}})
	})
	return f, memory
}

// done waits until the handler is done with a request.
func done(h http.Handler) (http.Handler, chan struct{}) {
	over := make(chan struct{}, 8)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { over <- struct{}{} }()
		h.ServeHTTP(w, r)
	}), over
}

// TestTheClientHasTheWholeAnswerBeforeTheJudgeIsDone reads the body to its end while the judge waits, and the verdict later.
func TestTheClientHasTheWholeAnswerBeforeTheJudgeIsDone(t *testing.T) {
	j := &fakeJudge{asked: make(chan quality.Answer, 1), let: make(chan struct{})}
	f, memory := startJudged(t, j, time.Minute)
	h, over := done(f.Handler)
	server := httptest.NewServer(h)
	defer server.Close()
	resp, err := server.Client().Post(server.URL+"/qa", "application/json", strings.NewReader(asked))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.Body.Close() != nil {
		t.Fatal(err)
	}
	var got qa.Response
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if a := <-j.asked; a.Text != got.Answer || a.Document != document || a.Question != "Who built the mill?" {
		t.Errorf("judged %+v, and the answer was %q", a, got.Answer)
	}
	if _, n := memory.Sum("llm.judge.verdict"); n != 0 {
		t.Error("there is a verdict before there is one")
	}
	close(j.let)
	<-over
	for metric, want := range map[string]float64{"llm.judge.verdict": 1, "llm.judge.cost": 0.002, "llm.judge.groundedness": 0.9, "llm.judge.answer_relevance": 0.8} {
		if sum, n := memory.Sum(metric, "function:qa", "endpoint:/qa", "model:m", "provider:p"); n != 1 || sum != want {
			t.Errorf("%s is %v in %d points, want %v in one", metric, sum, n, want)
		}
	}
	labels := map[string]float64{}
	for _, e := range memory.Evaluations() {
		if e.RequestID != got.Metadata.RequestID {
			t.Errorf("evaluation of %q, want %q", e.RequestID, got.Metadata.RequestID)
		}
		labels[e.Label] = e.Score
	}
	if len(labels) != 2 || labels["judge_groundedness"] != 0.9 || labels["judge_answer_relevance"] != 0.8 {
		t.Errorf("evaluations %v", labels)
	}
	if sum, _ := f.Memory.Sum("llm.request.cost"); sum != *got.Metadata.CostUSD {
		t.Errorf("the request is said to cost %v, and its caller was told %v: the judge is no part of it", sum, *got.Metadata.CostUSD)
	}
}

// TestOnAFunctionURLTheWholeAnswerIsReadBeforeTheJudgeIsAsked streams as Lambda does: what is written has been read.
func TestOnAFunctionURLTheWholeAnswerIsReadBeforeTheJudgeIsAsked(t *testing.T) {
	j := &fakeJudge{asked: make(chan quality.Answer), let: make(chan struct{})}
	f, _ := startJudged(t, j, time.Minute)
	h, over := done(streaming{f.Handler})
	event := &events.LambdaFunctionURLRequest{RawPath: "/qa", Body: asked, Headers: map[string]string{"Content-Type": "application/json"}}
	event.RequestContext.HTTP.Method = http.MethodPost
	event.RequestContext.DomainName = "qa.example"
	resp, err := lambdaurl.Wrap(h)(t.Context(), event)
	if err != nil {
		t.Fatal(err)
	}
	var got qa.Response
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Answer == "" {
		t.Fatalf("answer %q: %v", got.Answer, err)
	}
	rest := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, resp.Body)
		rest <- err
	}()
	<-j.asked // nobody took the question before the answer was read
	close(j.let)
	<-over
	if err := <-rest; err != nil {
		t.Error(err)
	}
}

// streaming is a platform that sends each write by itself.
type streaming struct{ next http.Handler }

func (s streaming) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.next.ServeHTTP(flushed{w}, r)
}

type flushed struct{ http.ResponseWriter }

func (flushed) FlushError() error { return nil }

// whole is a response that does not leave before its handler ends.
type whole struct{ http.ResponseWriter }

func TestWhatIsNotJudged(t *testing.T) {
	for name, tt := range map[string]struct {
		sample float64
		body   string
		serve  func(h http.Handler, w *httptest.ResponseRecorder, r *http.Request)
	}{
		"an answer outside of the sample":               {0, asked, func(h http.Handler, w *httptest.ResponseRecorder, r *http.Request) { h.ServeHTTP(w, r) }},
		"a request without an answer":                   {1, `{}`, func(h http.Handler, w *httptest.ResponseRecorder, r *http.Request) { h.ServeHTTP(w, r) }},
		"a response that cannot leave before the judge": {1, asked, func(h http.Handler, w *httptest.ResponseRecorder, r *http.Request) { h.ServeHTTP(whole{w}, r) }},
	} {
		t.Run(name, func(t *testing.T) {
			j := &fakeJudge{asked: make(chan quality.Answer, 1), let: make(chan struct{})}
			close(j.let)
			f := functiontest.Start(t, "qa", nil, func(gw *gateway.Gateway) (http.Handler, error) {
				return qa.New(qa.Options{Gateway: gw, Judging: qa.Judging{Judge: j, Sample: tt.sample}})
			})
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/qa", strings.NewReader(tt.body))
			r.Header.Set("Content-Type", "application/json")
			tt.serve(f.Handler, httptest.NewRecorder(), r)
			if len(j.asked) != 0 {
				t.Error("it was judged")
			}
		})
	}
}

func TestAJudgeThatFailsIsCountedWithWhatItCost(t *testing.T) {
	for name, tt := range map[string]struct {
		err     error
		hangs   bool
		kind    string
		charged int
	}{
		"a reply that is no verdict": {&judge.UnreadableError{Err: errors.New("prose")}, false, "unreadable", 1},
		"a model that is overloaded": {&llm.Error{Kind: llm.Overloaded}, false, "overloaded", 1},
		"a judge that hangs":         {nil, true, "timeout", 0},
	} {
		t.Run(name, func(t *testing.T) {
			j := &fakeJudge{asked: make(chan quality.Answer, 1), let: make(chan struct{}), err: tt.err}
			timeout := time.Minute
			if tt.hangs {
				timeout = time.Millisecond
			} else {
				close(j.let)
			}
			f, memory := startJudged(t, j, timeout)
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/qa", strings.NewReader(asked))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			f.Handler.ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				t.Errorf("status %d", w.Code)
			}
			if _, n := memory.Sum("llm.judge.failed", "error_type:"+tt.kind, "model:m"); n != 1 {
				t.Errorf("counted %d failures of kind %s, want 1", n, tt.kind)
			}
			if _, n := memory.Sum("llm.judge.cost"); n != tt.charged {
				t.Errorf("%d points of cost, want %d", n, tt.charged)
			}
			if _, n := memory.Sum("llm.judge.verdict"); n != 0 {
				t.Error("a verdict was counted")
			}
		})
	}
}

func TestNewChecksTheJudging(t *testing.T) {
	for name, judging := range map[string]qa.Judging{
		"a sample above 1":       {Judge: &fakeJudge{}, Sample: 1.5},
		"a sample below 0":       {Judge: &fakeJudge{}, Sample: -1},
		"a sample without judge": {Sample: 0.5},
		"a negative timeout":     {Timeout: -1},
	} {
		t.Run(name, func(t *testing.T) {
			functiontest.Start(t, "qa", nil, func(gw *gateway.Gateway) (http.Handler, error) {
				if _, err := qa.New(qa.Options{Gateway: gw, Judging: judging}); err == nil {
					t.Error("no error")
				}
				return qa.New(qa.Options{Gateway: gw})
			})
		})
	}
}
