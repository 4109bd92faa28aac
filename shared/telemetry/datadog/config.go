package datadog

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/env"
)

// Capture says how much of prompts, documents and answers leaves the process with spans.
type Capture string

// The capture modes. In CaptureNone not even error texts leave it, because providers quote prompts in them.
const (
	CaptureNone      Capture = "none"
	CaptureTruncated Capture = "truncated"
	CaptureFull      Capture = "full"
)

// Config says where telemetry goes and what is in it.
type Config struct {
	// Enabled is the master switch. Off, nothing leaves the process and nothing is counted.
	Enabled bool
	// Tracing sends spans. LLMObs makes them LLM Observability spans too, and needs Tracing.
	Tracing bool
	LLMObs  bool
	// Service, Env and Version are Datadog's unified tags. Function is the deployed function, MLApp the application's
	// name in LLM Observability.
	Service  string
	Env      string
	Version  string
	Function string
	MLApp    string
	// AgentURL is the trace agent's, http, https or unix. StatsdAddr is host:port over UDP, or unix:///path.
	AgentURL   string
	StatsdAddr string
	Capture    Capture
	// Redact is applied to every text before it leaves the process; nil leaves texts as they are.
	Redact func(string) string
	// Logger takes what the sink and the SDK have to say, the SDK at level debug. Nil discards it.
	Logger *slog.Logger
	// StartTimeout bounds how long Start waits for an agent that is not up yet; 250 ms when zero.
	StartTimeout time.Duration
	// TracerStartedByWrapper leaves the start of the tracer to Datadog's Lambda wrapper, which must be given
	// Sink.TracerOptions.
	TracerStartedByWrapper bool
}

// ConfigFromEnv reads Datadog's standard variables, and our own LLM_CAPTURE_CONTENT and LRCP_TELEMETRY (on or off). The
// error names every bad variable. Function, Logger and Redact are for the caller to set.
func ConfigFromEnv(getenv func(string) string) (Config, error) {
	e := env.New(getenv)
	c := Config{
		Enabled: e.OneOf("LRCP_TELEMETRY", "on", "on", "off") == "on",
		Tracing: e.Bool("DD_TRACE_ENABLED", true),
		LLMObs:  e.Bool("DD_LLMOBS_ENABLED", true),
		Service: e.String("DD_SERVICE", "llm-reliability-control-plane"),
		Env:     e.String("DD_ENV", "local"),
		Version: e.String("DD_VERSION", "dev"),
		Capture: Capture(e.OneOf("LLM_CAPTURE_CONTENT", string(CaptureNone), string(CaptureNone), string(CaptureTruncated), string(CaptureFull))),
	}
	c.MLApp = e.String("DD_LLMOBS_ML_APP", c.Service)
	host := e.String("DD_AGENT_HOST", "localhost")
	tracePort := e.Int("DD_TRACE_AGENT_PORT", 8126, 1, 65535)
	c.AgentURL = e.String("DD_TRACE_AGENT_URL", "http://"+net.JoinHostPort(host, strconv.Itoa(tracePort)))
	if u, err := url.Parse(c.AgentURL); err != nil || !(u.Scheme == "unix" && u.Path != "" || (u.Scheme == "http" || u.Scheme == "https") && u.Host != "") {
		e.Refuse("DD_TRACE_AGENT_URL", "is not an http, https or unix URL")
	}
	statsdPort := e.Int("DD_DOGSTATSD_PORT", 8125, 1, 65535)
	c.StatsdAddr = net.JoinHostPort(e.String("DD_DOGSTATSD_HOST", host), strconv.Itoa(statsdPort))
	if raw := e.String("DD_DOGSTATSD_URL", ""); raw != "" {
		addr, err := statsdAddr(raw)
		if err != nil {
			e.Refuse("DD_DOGSTATSD_URL", err.Error())
		}
		c.StatsdAddr = addr
	}
	return c, e.Err()
}

func statsdAddr(raw string) (string, error) {
	u, err := url.Parse(raw)
	switch {
	case err == nil && u.Scheme == "udp" && u.Port() != "":
		return u.Host, nil
	case err == nil && u.Scheme == "unix" && u.Path != "":
		return raw, nil
	}
	return "", fmt.Errorf("is neither udp://host:port nor unix:///path")
}

// dialStatsd opens the socket for datagrams. Over UDP it succeeds whether or not anyone listens.
func dialStatsd(addr string) (net.Conn, error) {
	if path, ok := strings.CutPrefix(addr, "unix://"); ok {
		return net.Dial("unixgram", path)
	}
	return net.Dial("udp", addr)
}

// Defaults returns the environment variables of the SDK that have no public option and that a function wants set
// otherwise than the SDK does: main applies those that are not set, before it starts anything. They spare a cold start
// the security library, the SDK's own telemetry and its remote configuration, and keep its banner out of the logs.
func Defaults() map[string]string {
	return map[string]string{
		"DD_APPSEC_ENABLED":                    "false",
		"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
		"DD_REMOTE_CONFIGURATION_ENABLED":      "false",
		"DD_TRACE_STARTUP_LOGS":                "false",
	}
}
