// Package datadog is the telemetry.Sink that delivers to Datadog through a local agent: the Lambda extension, the Cloud
// Run sidecar, or any other. It is the only package that imports Datadog's SDKs.
//
// Delivery is acknowledged: Flush waits for the agent, because a function may be frozen right after its response, and the
// SDK's own flush only begins to send. What was not acknowledged is counted in llm.telemetry.dropped.
package datadog

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/env"
)

// Capture says how much of prompts and answers leaves the process, in spans.
type Capture string

// The captures. Personal data is redacted in both that capture.
const (
	CaptureNone      Capture = "none"
	CaptureTruncated Capture = "truncated"
	CaptureFull      Capture = "full"
)

// Config says where telemetry goes.
type Config struct {
	// Enabled is false when all telemetry but the log is off.
	Enabled bool
	// LLMObs switches LLM Observability on; without it, spans are plain APM spans.
	LLMObs                bool
	Service, Env, Version string
	// MLApp names the application in LLM Observability.
	MLApp string
	// AgentURL is the agent's HTTP API, StatsdAddr its DogStatsD address as host:port.
	AgentURL   string
	StatsdAddr string
	Capture    Capture
	// Function is the deployed function's name.
	Function string
	// StartTimeout bounds how long Start waits for an agent that is still starting; 250 ms when 0.
	StartTimeout time.Duration
	// Background leaves the sending to the SDK's own rhythm of two seconds: Flush then waits for nothing, and Close for all.
	// It is for a process that runs on between requests. One that is frozen there must wait, so it has no effect together with
	// StartedByWrapper.
	Background bool
	// StartedByWrapper leaves it to Datadog's Lambda wrapper to start the tracer, with TracerOptions.
	StartedByWrapper bool
	// Logger hears, in one line each, that telemetry is off or the agent absent; required.
	Logger *slog.Logger
}

// ConfigFromEnv reads the standard variables of Datadog's libraries, and two of ours. What is wrong with them is recorded
// in e.
//
//	LLM_CAPTURE_CONTENT   none, truncated or full: how much of prompts and answers is in spans; none when not set
//	LRCP_FLUSH            request, or background where the process has its processor between requests, too; request when not set
func ConfigFromEnv(e *env.Env) Config {
	c := Config{
		Enabled:    e.Bool("DD_TRACE_ENABLED", true),
		LLMObs:     e.Bool("DD_LLMOBS_ENABLED", true),
		Service:    e.String("DD_SERVICE", "llm-reliability-control-plane"),
		Env:        e.String("DD_ENV", "local"),
		Version:    e.String("DD_VERSION", "dev"),
		AgentURL:   e.String("DD_TRACE_AGENT_URL", ""),
		StatsdAddr: net.JoinHostPort(e.String("DD_DOGSTATSD_HOST", e.String("DD_AGENT_HOST", "127.0.0.1")), fmt.Sprint(e.Int("DD_DOGSTATSD_PORT", 8125, 1, 65535))),
		Capture:    Capture(e.OneOf("LLM_CAPTURE_CONTENT", string(CaptureNone), string(CaptureNone), string(CaptureTruncated), string(CaptureFull))),
	}
	c.Background = e.OneOf("LRCP_FLUSH", "request", "request", "background") == "background"
	c.MLApp = e.String("DD_LLMOBS_ML_APP", c.Service)
	if c.AgentURL == "" {
		c.AgentURL = "http://" + net.JoinHostPort(e.String("DD_AGENT_HOST", "127.0.0.1"), fmt.Sprint(e.Int("DD_TRACE_AGENT_PORT", 8126, 1, 65535)))
	}
	// The SDK takes a socket without asking our transport, and then nothing could be counted or repaired.
	if u, err := url.Parse(c.AgentURL); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		e.Refuse("DD_TRACE_AGENT_URL", "must be an http or https URL")
	}
	if strings.ToLower(c.MLApp) != c.MLApp || len(c.MLApp) > 193 {
		e.Refuse("DD_LLMOBS_ML_APP", "must be lower case and at most 193 characters")
	}
	return c
}

// Defaults are variables of Datadog's SDKs, and of X-Ray's, which Datadog's Lambda wrapper calls, that a function sets unless
// they are set, before anything of the SDKs starts. Each costs time at a cold start, or prints lines that are no JSON, and
// gives nothing to a function.
func Defaults() map[string]string {
	return map[string]string{
		"DD_APPSEC_ENABLED":                    "false",
		"DD_REMOTE_CONFIGURATION_ENABLED":      "false",
		"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
		"DD_TRACE_STARTUP_LOGS":                "false",
		"DD_CAPTURE_LAMBDA_PAYLOAD":            "false",
		"AWS_XRAY_SDK_DISABLED":                "true",
	}
}
