package local

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	assetfiles "github.com/llm-reliability/control-plane/datadog"
	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/deploy"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/api"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/query"
	"github.com/llm-reliability/control-plane/shared/ddapi"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// archiveStore is where the log archives of this machine would be.
const archiveStore = "s3"

// datadogAPI is the stand-in behind one address: its own page, and Datadog's API for assets and for metric queries.
func (s *Stack) datadogAPI() (http.Handler, error) {
	taken, err := api.New(api.Options{Now: s.Clock.Now, Sink: s.Datadog, Users: users(s.assets), APIKey: s.DatadogAPIKey, AppKey: s.DatadogAppKey})
	if err != nil {
		return nil, err
	}
	queries, err := query.New(query.Options{
		Metrics: s.Datadog.Metrics(), Events: s.Datadog.Events, ToStandIn: s.Clock.Standing, ToCaller: s.Clock.Wall, APIKey: s.DatadogAPIKey, AppKey: s.DatadogAppKey,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/api/v1/", taken)
	mux.Handle("/api/v2/", taken)
	mux.Handle("GET /api/v1/query", queries)
	mux.Handle("POST /api/v2/query/", queries)
	mux.Handle("POST /api/v2/events/search", queries)
	mux.Handle("POST /api/v2/prodlytics", s.ProductAnalytics)
	mux.Handle("/api/v2/rum", s.RUM)
	mux.HandleFunc("GET /api/rum", s.RUM.Show)
	mux.Handle("/", s.Datadog.API())
	return mux, nil
}

// localAssets are those of the repository, in the form for this machine.
func localAssets() ([]assets.Asset, error) {
	files, err := assets.Load(assetfiles.FS)
	if err != nil {
		return nil, err
	}
	return assets.Select(append(assets.Metrics(telemetry.Catalogue()), files...), archiveStore)
}

// users are the people whom assets name.
func users(files []assets.Asset) []api.User {
	var out []api.User
	for _, a := range files {
		for _, ref := range assets.Refs(a) {
			if ref.Kind != assets.User || slices.ContainsFunc(out, func(u api.User) bool { return u.Name == ref.Name }) {
				continue
			}
			id, _ := assets.Sample(ref.Kind, ref.Name)
			email, _ := assets.Sample(assets.Setting, ref.Name)
			out = append(out, api.User{ID: id, Email: email, Name: ref.Name})
		}
	}
	return out
}

// datadogClient reaches the stand-in, over a socket where it has one.
func (s *Stack) datadogClient() (*ddapi.Client, error) {
	opts := ddapi.Options{APIKey: s.DatadogAPIKey, AppKey: s.DatadogAppKey, BaseURL: s.DatadogURL}
	if opts.BaseURL == "" {
		within := &lateHandler{}
		within.set(s.api)
		opts.BaseURL, opts.HTTP = "http://localhost", &http.Client{Transport: within}
	}
	return ddapi.New(opts)
}

// deployAssets brings the assets up as at a Datadog site: by the same plan and apply, over the same API.
func (s *Stack) deployAssets(ctx context.Context) error {
	dd, err := s.datadogClient()
	if err != nil {
		return err
	}
	const site = "the stand-in"
	// The stand-in forgets everything when it ends, and so does the state.
	state, err := deploy.NewState(site)
	if err != nil {
		return err
	}
	d, err := deploy.New(deploy.Options{Client: dd, State: state, Site: site, Assets: s.assets, Values: s.value})
	if err != nil {
		return err
	}
	plan, err := d.Plan(ctx)
	if err != nil {
		return fmt.Errorf("plan the assets: %w", err)
	}
	if _, err := d.Apply(ctx, plan); err != nil {
		return fmt.Errorf("apply the assets: %w", err)
	}
	return nil
}

// value is what placeholders stand for on this machine: every function has one address, and settings have sample values.
func (s *Stack) value(kind, name string) (string, bool) {
	switch {
	case kind == assets.Function:
		return s.URL, true
	case kind == assets.Secret && name == "control":
		return s.ControlSecret, true
	case kind == assets.Secret && name == "api_key":
		return s.APIKey, true
	case kind == assets.Setting:
		return assets.Sample(kind, name)
	}
	return "", false
}
