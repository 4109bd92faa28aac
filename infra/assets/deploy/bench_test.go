package deploy_test

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/datadog"
	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/deploy"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/api"
	"github.com/llm-reliability/control-plane/shared/ddapi"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// BenchmarkDeploy brings all assets of the repository to a stand-in over sockets: plan-ms and apply-ms are the first time,
// empty-plan-ms is the second.
func BenchmarkDeploy(b *testing.B) {
	loaded, err := assets.Load(datadog.FS)
	if err != nil {
		b.Fatal(err)
	}
	all, err := assets.Select(append(assets.Metrics(telemetry.Catalogue()), loaded...), "s3")
	if err != nil {
		b.Fatal(err)
	}
	var plan, apply, empty time.Duration
	for b.Loop() {
		a, err := api.New(api.Options{Now: time.Now, Users: people})
		if err != nil {
			b.Fatal(err)
		}
		server := httptest.NewServer(a)
		client, err := ddapi.New(ddapi.Options{APIKey: "api", AppKey: "app", BaseURL: server.URL})
		if err != nil {
			b.Fatal(err)
		}
		state, err := deploy.OpenState(b.TempDir()+"/state.json", client.Site())
		if err != nil {
			b.Fatal(err)
		}
		d, err := deploy.New(deploy.Options{Client: client, State: state, Assets: all, Values: assets.Sample})
		if err != nil {
			b.Fatal(err)
		}
		timed := func(total *time.Duration, f func() error) {
			begin := time.Now()
			if err := f(); err != nil {
				b.Fatal(err)
			}
			*total += time.Since(begin)
		}
		var p deploy.Plan
		timed(&plan, func() (err error) { p, err = d.Plan(b.Context()); return err })
		timed(&apply, func() error { _, err := d.Apply(b.Context(), p); return err })
		timed(&empty, func() (err error) { p, err = d.Plan(b.Context()); return err })
		if !p.Empty() {
			b.Fatalf("the second plan is not empty:\n%s", p.Text())
		}
		server.Close()
	}
	for name, total := range map[string]time.Duration{"plan-ms": plan, "apply-ms": apply, "empty-plan-ms": empty} {
		b.ReportMetric(float64(total.Microseconds())/1000/float64(b.N), name)
	}
}
