package qa

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/quality"
	"github.com/llm-reliability/control-plane/shared/quality/judge"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// Judge scores an answer; *judge.Judge asks a model.
type Judge interface {
	Judge(ctx context.Context, a quality.Answer) (judge.Verdict, error)
}

// Judging has a sample of the answers judged, each after its response has left whole. What it costs is counted by itself: it is
// no part of the request's cost, and of no limit of its caller's.
//
// On a function URL of Lambda a response has no length, so that a client who waits for its end waits for the judge, too, in the
// sampled requests.
type Judging struct {
	// Judge is required where Sample is not 0.
	Judge Judge
	// Sample is the share of the answers that are judged, 0 to 1.
	Sample float64
	// Timeout bounds the judge, within the request's own deadline; 5 s when 0.
	Timeout time.Duration
	// Telemetry may be nil.
	Telemetry *telemetry.Client
}

func (j *Judging) check() error {
	if !(j.Sample >= 0 && j.Sample <= 1) || j.Timeout < 0 {
		return errors.New("qa: Sample is from 0 to 1, and Timeout not negative")
	}
	if j.Sample > 0 && j.Judge == nil {
		return errors.New("qa: a sample needs a Judge")
	}
	if j.Timeout == 0 {
		j.Timeout = 5 * time.Second
	}
	return nil
}

// after judges the answer of an exchange whose response was just written, if it is of the sample. A cached answer was judged, or
// not, when it was new.
func (j *Judging) after(ctx context.Context, w http.ResponseWriter, e *telemetry.Exchange) {
	if j.Sample == 0 || e.Cached() || rand.Float64() >= j.Sample { //nolint:gosec // a sample is no secret
		return
	}
	if http.NewResponseController(w).Flush() != nil {
		// The response cannot leave before the handler ends: its client would wait for the judge.
		return
	}
	// The client has all that it wants: that it is gone then is no reason to stop. The deadline holds on.
	end := time.Now().Add(j.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		end = d
	}
	asking, cancel := context.WithDeadline(context.WithoutCancel(ctx), end)
	defer cancel()
	v, err := j.Judge.Judge(asking, quality.Answer{Question: e.Question, Document: e.Document, Text: e.Output, Cut: e.Finish == llm.FinishLength})
	j.count(ctx, e, v, err)
}

// count tells telemetry of a verdict, or of its failure, and of what either took.
func (j *Judging) count(ctx context.Context, e *telemetry.Exchange, v judge.Verdict, err error) {
	tags := func(more ...string) []string {
		return append([]string{"function:" + e.Function, "endpoint:" + e.Endpoint, "model:" + v.Model, "provider:" + v.Provider}, more...)
	}
	if v.CostUSD != nil {
		j.Telemetry.Add(ctx, "llm.judge.cost", *v.CostUSD, tags()...)
	}
	if err != nil {
		kind := "unreadable"
		if failed, ok := errors.AsType[*llm.Error](err); ok {
			kind = string(failed.Kind)
		}
		j.Telemetry.Add(ctx, "llm.judge.failed", 1, tags("error_type:"+kind)...)
		return
	}
	j.Telemetry.Add(ctx, "llm.judge.verdict", 1, tags("reason:"+string(v.Reason))...)
	for _, s := range []struct {
		name  string
		score *float64
	}{{"groundedness", v.Signals.Groundedness}, {"answer_relevance", v.Signals.AnswerRelevance}} {
		if s.score != nil {
			j.Telemetry.Add(ctx, "llm.judge."+s.name, *s.score, tags()...)
			j.Telemetry.Evaluate(telemetry.Evaluation{RequestID: e.RequestID, Label: "judge_" + s.name, Score: *s.score})
		}
	}
}
