// Package local is the whole system in one process: every function, the control state, the embedded model, and the
// stand-in for Datadog that receives the telemetry, evaluates the monitors, runs the workflows and calls the functions
// back. The assets are those of datadog/, as they are deployed.
//
// Start uses sockets and the real SDKs. InProcess uses neither, so that it runs on virtual time under testing/synctest.
// Both build the same graph. It is for one machine: the model can be made to fail, and secrets are made up at start.
package local

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/local/ddfake"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/rum"
	"github.com/llm-reliability/control-plane/infra/local/fault"
	"github.com/llm-reliability/control-plane/shared/control/bolt"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
	"github.com/llm-reliability/control-plane/shared/telemetry/datadog"
)

// The identity of everything that runs here.
const (
	service     = "llm-reliability-control-plane"
	environment = "local"
	version     = "dev"
)

// Options say where the stack listens and how its time runs.
type Options struct {
	// Listen and DatadogListen are the addresses of the functions and of the stand-in's page; ":0" takes a free port.
	// InProcess needs none.
	Listen, DatadogListen string
	// StateDir is the directory of the control state; required.
	StateDir string
	// Speed is how many times faster than the process's the stand-in's clock runs; 1 when 0. The guards' windows shrink
	// by the same factor, since they are meant to be compared with monitors' windows.
	Speed float64
	// Getenv names the model backends, as for the deployed functions; nil is the embedded model.
	Getenv func(string) string
	// Traffic has made-up users ask healthy questions all the time, so that there is something to see. Models that cost money get
	// none of it; there the users come only with a scenario.
	Traffic bool
}

// Stack is a running system.
type Stack struct {
	// URL is that of the functions, DatadogURL that of the stand-in's page.
	URL, DatadogURL string
	// APIKey opens the data functions, ControlSecret the control functions; DatadogAPIKey and DatadogAppKey the stand-in.
	APIKey, ControlSecret        string
	DatadogAPIKey, DatadogAppKey string
	// HTTP reaches the functions.
	HTTP    *http.Client
	Datadog *ddfake.Datadog
	Clock   *ddfake.Clock
	// Providers are those of the models on the route; Faults make them misbehave, one for each.
	Providers []string
	Faults    Faults
	// ProductAnalytics takes what functions tell of their use.
	ProductAnalytics *ddfake.ProductAnalytics
	// RUM takes what the theater's page reports.
	RUM *rum.Intake

	// speed is that of the clock, rumToken what the page shows to RUM, insights the handler of the health score without its guards,
	// and endStreams ends the streams of events, which else would outlast every grace.
	speed      float64
	rumToken   string
	insights   http.Handler
	endStreams func()
	// api is the stand-in's page, and Datadog's API; assets are brought up there.
	api      http.Handler
	assets   []assets.Asset
	cleanups []cleanup
}

// Faults are the faults of all backends.
type Faults []*fault.Model

// Set makes every backend misbehave.
func (f Faults) Set(what fault.Fault) {
	for _, m := range f {
		m.Set(what)
	}
}

// Clear ends the fault of every backend.
func (f Faults) Clear() {
	for _, m := range f {
		m.Clear()
	}
}

// cleanup ends one part of the stack.
type cleanup struct {
	name string
	end  func(context.Context) error
}

// Close ends everything, last begun first, and joins what went wrong.
func (s *Stack) Close(ctx context.Context) error {
	var errs []error
	for _, c := range slices.Backward(s.cleanups) {
		if err := c.end(ctx); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", c.name, err))
		}
	}
	s.cleanups = nil
	return errors.Join(errs...)
}

func (s *Stack) onClose(name string, end func(context.Context) error) {
	s.cleanups = append(s.cleanups, cleanup{name, end})
}

// background runs f until Close.
func (s *Stack) background(name string, f func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f(ctx) })
	s.onClose(name, func(context.Context) error { cancel(); running.Wait(); return nil })
}

// InProcess builds the stack without sockets and SDKs. Under testing/synctest all of its time is virtual.
func InProcess(ctx context.Context, opts Options) (*Stack, error) {
	mux := &lateHandler{}
	s, err := newStack(opts, &http.Client{Transport: mux})
	if err != nil {
		return nil, err
	}
	s.URL, s.HTTP = "http://functions.internal", &http.Client{Transport: mux}
	sink, err := s.Datadog.Sink("service:"+service, "env:"+environment, "version:"+version)
	if err != nil {
		return nil, err
	}
	if err := s.assemble(ctx, opts, sink, mux); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	if err := s.deployAssets(ctx); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	s.background("stand-in", s.Datadog.Run)
	return s, nil
}

// Start builds the stack on sockets, with the real SDKs between the functions and the stand-in.
func Start(ctx context.Context, opts Options) (*Stack, error) {
	calls := &http.Client{Timeout: 30 * time.Second}
	s, err := newStack(opts, calls)
	if err != nil {
		return nil, err
	}
	s.HTTP = calls
	mux := &lateHandler{}
	if err := s.listen(ctx, opts, mux); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

func newStack(opts Options, calls *http.Client) (*Stack, error) {
	if opts.StateDir == "" {
		return nil, errors.New("local: StateDir is required")
	}
	if opts.Speed == 0 {
		opts.Speed = 1
	}
	clock, err := ddfake.NewClock(time.Now(), opts.Speed)
	if err != nil {
		return nil, err
	}
	dd, err := ddfake.New(ddfake.Options{Clock: clock, HTTP: calls})
	if err != nil {
		return nil, err
	}
	files, err := localAssets()
	if err != nil {
		return nil, err
	}
	s := &Stack{
		assets: files,
		APIKey: rand.Text(), ControlSecret: rand.Text() + rand.Text(), DatadogAPIKey: rand.Text(), DatadogAppKey: rand.Text(), Datadog: dd, Clock: clock,
	}
	s.speed, s.rumToken, s.endStreams = opts.Speed, "pub"+strings.ToLower(rand.Text()), func() {}
	s.ProductAnalytics = &ddfake.ProductAnalytics{APIKey: s.DatadogAPIKey}
	if s.RUM, err = rum.New(s.rumToken); err != nil {
		return nil, err
	}
	s.api, err = s.datadogAPI()
	return s, err
}

// listen opens the sockets: the agent's and DogStatsD's first, since the SDKs look for them as they start. The functions
// are served when everything that they need is there, and end before it.
func (s *Stack) listen(ctx context.Context, opts Options, mux *lateHandler) error {
	agent, err := listen(ctx, "agent", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.serve("agent", agent, s.Datadog.Intake().Agent())
	packets, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for DogStatsD: %w", err)
	}
	s.background("DogStatsD", func(ctx context.Context) {
		if err := s.Datadog.Intake().ServeUDP(ctx, packets); err != nil && ctx.Err() == nil {
			s.logger().Error("DogStatsD intake ended", slog.String("error.message", err.Error()))
		}
	})
	page, err := listen(ctx, "stand-in's page", opts.DatadogListen)
	if err != nil {
		return err
	}
	s.serve("stand-in's page", page, s.api)
	functions, err := listen(ctx, "functions", opts.Listen)
	if err != nil {
		return err
	}
	s.URL, s.DatadogURL = url(functions), url(page)
	sink := datadog.Start(ctx, datadog.Config{
		Enabled: true, LLMObs: true, Service: service, Env: environment, Version: version, MLApp: service,
		AgentURL: url(agent), StatsdAddr: packets.LocalAddr().String(), Capture: datadog.CaptureTruncated, Function: "local", Logger: s.logger(),
	})
	s.onClose("telemetry", func(ctx context.Context) error {
		if err := sink.Close(ctx); err != nil {
			// What did not arrive is counted already; it is no reason for the stack to have failed.
			s.logger().Warn("telemetry not acknowledged", slog.String("error.message", err.Error()))
		}
		return nil
	})
	if err := s.assemble(ctx, opts, sink, mux); err != nil {
		return errors.Join(err, functions.Close())
	}
	s.serve("functions", functions, mux)
	s.onClose("streams of events", func(context.Context) error { s.endStreams(); return nil })
	if err := s.deployAssets(ctx); err != nil {
		return err
	}
	s.background("stand-in", s.Datadog.Run)
	return nil
}

func listen(ctx context.Context, name, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for the %s: %w", name, err)
	}
	return l, nil
}

func url(l net.Listener) string { return "http://" + l.Addr().String() }

// serve serves a handler until Close, which lets requests under way finish while there is time.
func (s *Stack) serve(name string, l net.Listener, h http.Handler) {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	s.onClose(name, func(ctx context.Context) error {
		const grace = 3 * time.Second
		ctx, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		err := server.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = server.Close()
		}
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	})
}

// logger writes the functions' log lines into the stand-in's intake.
func (s *Stack) logger() *slog.Logger {
	return telemetry.NewLogger(s.Datadog.Intake().LogWriter(), slog.LevelInfo, service, environment, version)
}

// assemble opens the control state and puts the functions together.
func (s *Stack) assemble(ctx context.Context, opts Options, sink telemetry.Sink, mux *lateHandler) error {
	store, err := bolt.Open(bolt.Options{Path: filepath.Join(opts.StateDir, "control.db")})
	if err != nil {
		return err
	}
	s.onClose("control state", func(context.Context) error { return store.Close() })
	keys, err := serverless.ParseAPIKeys([]env.Secret{env.Secret("local:" + sum(s.APIKey))})
	if err != nil {
		return err
	}
	secrets, err := serverless.ParseControlSecrets([]env.Secret{env.Secret(s.ControlSecret)})
	if err != nil {
		return err
	}
	f := functions{stack: s, sink: sink, store: store, keys: keys, secrets: secrets, getenv: opts.Getenv, speed: max(opts.Speed, 1), stateDir: opts.StateDir, traffic: opts.Traffic}
	if f.getenv == nil {
		f.getenv = func(string) string { return "" }
	}
	handler, err := f.handler(ctx)
	if err != nil {
		return err
	}
	mux.set(handler)
	return nil
}

func sum(key string) string {
	b := sha256.Sum256([]byte(key))
	return hex.EncodeToString(b[:])
}
