package ddfake_test

import (
	"log/slog"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/local/ddfake"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/intake"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

func TestSink(t *testing.T) {
	clock, err := ddfake.NewClock(time.Now(), 1)
	if err != nil {
		t.Fatal(err)
	}
	d, err := ddfake.New(ddfake.Options{Clock: clock, HTTP: http.DefaultClient})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := d.Sink("service:a", "env:x,y|z")
	if err != nil {
		t.Fatal(err)
	}
	client, err := telemetry.New(telemetry.Options{Sink: sink, Logger: slog.New(slog.DiscardHandler), Function: "qa"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := client.Begin(t.Context(), "qa", http.Header{})
	client.Record(ctx, &telemetry.Exchange{
		RequestID: "r-1", Function: "qa", Start: time.Now(), Duration: time.Second, Outcome: telemetry.OutcomeSuccess, Document: "text", Output: "answer",
		Attempts: []telemetry.Attempt{{Model: "m", ErrorType: "timeout"}, {Model: "n", Usage: &llm.Usage{InputTokens: 2, OutputTokens: 1}}},
	})
	client.Event(ctx, telemetry.Event{Title: "Override made\nnow", Text: "é", Type: "success", AggregationKey: "o|1"})
	client.Evaluate(telemetry.Evaluation{RequestID: "r-1", Label: "facts", Score: 0.5})
	span.End(http.StatusOK, nil)

	counts := d.Intake().Counts()
	if len(counts.Malformed) > 0 || counts.Datagrams[intake.Distribution] == 0 {
		t.Errorf("got counts %+v, want distributions and nothing malformed", counts)
	}
	if diff := cmp.Diff(counts.LLMSpans, map[string]int{"workflow": 1, "retrieval": 1, "llm": 2}); diff != "" {
		t.Errorf("LLM Obs spans: got - want +\n%s", diff)
	}
	timeline := d.Timeline()
	if len(timeline) != 1 || timeline[0].Kind != ddfake.KindEvent || timeline[0].Text != "Override made\nnow" {
		t.Errorf("got timeline %+v, want the event", timeline)
	}
	evaluations := d.Intake().Evaluations()
	if len(evaluations) != 1 || counts.Evaluations != 1 || evaluations[0].Label != "facts" || *evaluations[0].ScoreValue != 0.5 {
		t.Fatalf("got evaluations %+v, want one", evaluations)
	}
	join := evaluations[0].JoinOn.Tag
	for _, s := range d.Intake().LLMSpans() {
		if s.Kind == "workflow" && !slices.Contains(s.Tags, join.Key+":"+join.Value) {
			t.Errorf("the evaluation is of %+v, the workflow has the tags %v", join, s.Tags)
		}
		if s.TraceID != span.Trace().TraceID {
			t.Errorf("span %s: got trace %s, want %s", s.Name, s.TraceID, span.Trace().TraceID)
		}
	}
}
