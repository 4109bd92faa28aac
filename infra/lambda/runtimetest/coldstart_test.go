package runtimetest_test

import (
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/llm-reliability/control-plane/functions/routes"
	"github.com/llm-reliability/control-plane/infra/buildtags"
	"github.com/llm-reliability/control-plane/infra/lambda/runtimetest"
	"github.com/llm-reliability/control-plane/shared/control/dynamodb/dynamotest"
	"github.com/llm-reliability/control-plane/shared/llm/vertextest"
)

// BenchmarkColdStart starts every function, and a hello world with the same wrapper around it, once per iteration and in turn,
// so that what else the machine does meets all alike. It measures from the start of the process to its first call of next, where
// Lambda's init phase ends, and to the first byte of its first response: GET /health, which reaches the control state. It
// reports medians, and how many times those of the hello world they are, and prints them as a table.
//
// Everything is built and configured as a deployment with the route of models that nobody has to ask for is, Vertex AI, DynamoDB and the Datadog extension included, except that secrets
// come from the environment: what Secrets Manager takes to answer is not ours to measure.
func BenchmarkColdStart(b *testing.B) {
	type subject struct {
		name, binary    string
		event           []byte
		env             []string
		size            int64
		next, firstByte []time.Duration
	}
	// What a function sets by itself, or is deployed with, so that the hello world has the same.
	defaults := []string{
		"GOGC=400",
		"DD_APPSEC_ENABLED=false", "DD_REMOTE_CONFIGURATION_ENABLED=false", "DD_INSTRUMENTATION_TELEMETRY_ENABLED=false",
		"DD_TRACE_STARTUP_LOGS=false",
	}
	subjects := []*subject{{name: "hello", binary: binary(b, hello), event: []byte(`{}`), env: defaults}}
	deployed := deployedEnv(b)
	for _, function := range routes.Functions() {
		subjects = append(subjects, &subject{
			name: function, binary: binary(b, functionPackage(function), buildtags.Lambda(function, "")...), event: runtimetest.URLEvent(b, "GET", "/health", nil, ""), env: deployed,
		})
	}
	for _, s := range subjects {
		info, err := os.Stat(s.binary)
		if err != nil {
			b.Fatal(err)
		}
		s.size = info.Size()
	}
	for b.Loop() {
		for _, s := range subjects {
			runtime := runtimetest.StartRuntime(b)
			extension := runtimetest.StartExtension(b, delay)
			invocation := runtime.Invoke(s.event)
			process := runtimetest.StartProcess(b, s.binary, slices.Concat(runtime.Env(), extension.Env(), s.env)...)
			begun, err := invocation.Until(patience(b), func(o runtimetest.Outcome) bool { return len(o.Chunks) > 0 })
			if err != nil {
				b.Fatalf("%s: %v\n%s", s.name, err, strings.Join(process.Lines(), ""))
			}
			ready, err := runtime.Ready(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			s.next = append(s.next, ready.Sub(process.Started))
			s.firstByte = append(s.firstByte, begun.Chunks[0].At.Sub(process.Started))
			process.Kill()
		}
	}
	median := func(took []time.Duration) float64 {
		slices.Sort(took)
		return float64(took[len(took)/2].Microseconds()) / 1000
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "function\tto first next, ms\ttimes hello\tto first byte, ms\ttimes hello\tbinary, MB")
	hello := subjects[0]
	for _, s := range subjects {
		next, firstByte := median(s.next), median(s.firstByte)
		fmt.Fprintf(w, "%s\t%.1f\t%.2f\t%.1f\t%.2f\t%.1f\n", s.name, next, next/median(hello.next), firstByte, firstByte/median(hello.firstByte), float64(s.size)/1e6)
		b.ReportMetric(next, s.name+"-next-ms")
		b.ReportMetric(firstByte, s.name+"-byte-ms")
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	b.Logf("medians of %d starts each", len(hello.next))
	// Not b.Log: the testing package cuts a benchmark's log after ten lines.
	fmt.Print("\n", table.String())
}

// functionPackage is the main package of a function.
func functionPackage(name string) string {
	return "github.com/llm-reliability/control-plane/functions/" + name + "/cmd"
}

// deployedEnv configures any function.
func deployedEnv(b *testing.B) []string {
	b.Helper()
	state := httptest.NewServer(&dynamotest.Table{Name: "lrcp"})
	b.Cleanup(state.Close)
	tunnel := vertextest.NewTunnel(b, vertextest.Start(b, vertextest.Options{}))
	return slices.Concat(functionEnv(b), tunnel.Env, []string{
		"LRCP_STATE=dynamodb:lrcp", "AWS_ENDPOINT_URL_DYNAMODB=" + state.URL, "AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=key",
		"GOGC=400", "LRCP_PROVIDER=", "GOOGLE_CLOUD_PROJECT=project", "GOOGLE_CLOUD_LOCATION=europe-west1",
		"LRCP_CONTROL_SECRETS=a-control-secret-of-the-benchmark",
		"DD_API_KEY=00000000000000000000000000000000", "DD_APP_KEY=none", "DD_SITE=datadoghq.eu",
		"LRCP_PROBE_QA_URL=http://127.0.0.1:1", "LRCP_PROBE_COMPLETION_URL=http://127.0.0.1:1", "LRCP_PROBE_API_KEY=none",
		"LRCP_ESCALATION_APP_KEY=none", "LRCP_THEATER_INSIGHTS_URL=http://127.0.0.1:1", "LRCP_THEATER_REMEDIATION_URL=http://127.0.0.1:1",
	})
}
