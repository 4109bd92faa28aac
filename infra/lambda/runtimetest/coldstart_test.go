package runtimetest_test

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/infra/lambda/runtimetest"
)

// BenchmarkColdStart measures from the start of the process to its first call of next, where Lambda's init phase ends,
// and reports the median. The hello world has the same wrapper and the same stand-ins; it shows what the platform's and
// Datadog's code cost without ours.
func BenchmarkColdStart(b *testing.B) {
	// What a function sets by itself.
	defaults := []string{
		"DD_APPSEC_ENABLED=false", "DD_REMOTE_CONFIGURATION_ENABLED=false", "DD_INSTRUMENTATION_TELEMETRY_ENABLED=false",
		"DD_TRACE_STARTUP_LOGS=false",
	}
	benchmarks := []struct {
		name, pkg string
		env       []string
	}{
		{"hello with the defaults of the wrapper", hello, nil},
		{"hello", hello, defaults},
		{"qa", qa, nil},
		{"completion", completion, nil},
	}
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			bin := binary(b, bb.pkg)
			info, err := os.Stat(bin)
			if err != nil {
				b.Fatal(err)
			}
			// The first start makes the control state, and waits for the disk; all others find it.
			env := slices.Concat(functionEnv(b), bb.env)
			var took []time.Duration
			for b.Loop() {
				b.StopTimer()
				runtime := runtimetest.StartRuntime(b)
				extension := runtimetest.StartExtension(b, delay)
				b.StartTimer()
				process := runtimetest.StartProcess(b, bin, slices.Concat(runtime.Env(), extension.Env(), env)...)
				ready, err := runtime.Ready(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				took = append(took, ready.Sub(process.Started))
				process.Kill()
				b.StartTimer()
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms")
			b.ReportMetric(float64(info.Size())/1e6, "MB")
		})
	}
}
