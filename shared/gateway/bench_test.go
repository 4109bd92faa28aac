package gateway_test

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// nowhere is a sink that keeps nothing, so that what is measured is the gateway's own: its metric points and its log line are
// made all the same. What spans cost is measured with the sink that makes them, and end to end.
type nowhere struct{ telemetry.Sink }

func (nowhere) Record(context.Context, *telemetry.Exchange) {}
func (nowhere) Emit([]telemetry.Point)                      {}

// requests are what the benchmarks ask: a conversation, and a question on a document of 2 KB, whose answer is scored.
func requests() map[string]llm.Request {
	document := strings.Repeat("The mill by the river was built in 1732 by the miller John Hartley. ", 30)
	return map[string]llm.Request{
		"chat": {Type: llm.Chat, Messages: []llm.Message{{Role: llm.User, Content: "Tell me about the mill by the river, please."}}},
		"qa": {
			Type: llm.QA, Question: "When was the mill built?", Document: document,
			Messages: []llm.Message{{Role: llm.User, Content: "Answer from the document only.\n" + document + "\nWhen was the mill built?"}},
		},
	}
}

// measure times Do over a model that answers at once.
func measure(b *testing.B, s control.Settings, told bool, req llm.Request) {
	b.Helper()
	known, err := catalog.BuiltIn()
	if err != nil {
		b.Fatal(err)
	}
	answers, err := cache.New(cache.Options{})
	if err != nil {
		b.Fatal(err)
	}
	prompt := &model{generate: func(_ context.Context, _ int, req llm.Request) (*llm.Response, error) {
		return &llm.Response{Text: "The mill was built in 1732.", Model: req.Model, Provider: "google", Finish: llm.FinishStop, Usage: &usage}, nil
	}}
	s.Model = "standard"
	opts := gateway.Options{Catalog: known, Control: settings{always: s}, Cache: answers, Stale: time.Hour, Backends: []gateway.Backend{
		{Provider: "google", Location: "europe-west1", Model: prompt, Tiers: known.TierModels("google")},
		{Provider: "google", Location: "global", Model: prompt, Tiers: known.TierModels("google")},
	}}
	if told {
		opts.Telemetry, err = telemetry.New(telemetry.Options{
			Sink: nowhere{}, Function: "qa", Logger: telemetry.NewLogger(io.Discard, slog.LevelInfo, "llm", "bench", "1"),
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	gw, err := gateway.New(opts)
	if err != nil {
		b.Fatal(err)
	}
	ctx, c := b.Context(), call()
	c.Request = req
	b.ReportAllocs()
	for b.Loop() {
		c.Start = time.Now()
		if _, err := gw.Do(ctx, c, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDo is the straight path: one model, which answers.
func BenchmarkDo(b *testing.B) {
	for name, req := range requests() {
		b.Run(name+"/telemetry=off", func(b *testing.B) { measure(b, control.Settings{}, false, req) })
		b.Run(name+"/telemetry=on", func(b *testing.B) { measure(b, control.Settings{}, true, req) })
	}
}

// BenchmarkCacheHit is an answer to a question from the cache of the process, telemetry on.
func BenchmarkCacheHit(b *testing.B) {
	measure(b, control.Settings{CacheTTL: time.Hour}, true, requests()["qa"])
}

// BenchmarkCacheHitOfChat is one without quality signals.
func BenchmarkCacheHitOfChat(b *testing.B) {
	measure(b, control.Settings{CacheTTL: time.Hour}, true, requests()["chat"])
}
