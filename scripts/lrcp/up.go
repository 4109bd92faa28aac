package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/functions/theater"
	"github.com/llm-reliability/control-plane/infra/local"
	"github.com/llm-reliability/control-plane/shared/llm/embedded"
)

// upCommand runs the local stack.
type upCommand struct {
	Listen  string  `help:"Address of the functions." default:"127.0.0.1:8080"`
	Datadog string  `help:"Address of the stand-in for Datadog." default:"127.0.0.1:8081"`
	State   string  `help:"Directory of the control state." default:".state"`
	Speed   float64 `help:"How many times faster than the wall clock the stand-in's clock runs." default:"60"`
	Traffic bool    `help:"Made-up users ask healthy questions all the time, where models cost nothing." default:"true" negatable:""`
	Open    bool    `help:"Open the Failure Theater in the browser, where there is a terminal."`
}

// Run implements the command.
func (c *upCommand) Run(ctx context.Context, out io.Writer) error {
	stack, err := local.Start(ctx, local.Options{Listen: c.Listen, DatadogListen: c.Datadog, StateDir: c.State, Speed: c.Speed, Getenv: os.Getenv, Traffic: c.Traffic})
	if err != nil {
		return err
	}
	page := stack.URL + "/#key=" + url.QueryEscape(stack.ControlSecret)
	fmt.Fprint(out, welcome(stack, page, theater.Built()))
	if file, ok := out.(*os.File); c.Open && ok && terminal(file) {
		if err := browse(ctx, page); err != nil {
			fmt.Fprintln(out, "the browser could not be opened:", err)
		}
	}
	<-ctx.Done()
	fmt.Fprintln(out, "\nstopping")
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return stack.Close(closing)
}

// welcome says where everything is, with a line to paste for each function.
func welcome(s *local.Stack, page string, built bool) string {
	note := "(open it: failures on one click, and the loop that remedies them)"
	if !built {
		note = "(the page is not built: it needs Node 20.19 or later; the address says how)"
	}
	return fmt.Sprintf(`LLM Reliability Control Plane, on this machine

  Failure Theater      %[8]s   %[9]s
  functions            %[1]s
  stand-in for Datadog %[2]s   (open it: monitors, timeline, workflow runs, spans)
  models               %[5]s
  API key              %[3]s
  control secret       %[4]s

Try:

  # qa: a question about a document
  curl -sS %[1]s/qa -H 'Authorization: Bearer %[3]s' -H 'Content-Type: application/json' -d '{"question":"Who built the mill?","document":"The mill stands by the river. It was built in 1732 by the abbey. Today it belongs to 41 farmers, who grind rye."}'

  # completion: our own form, streamed
  curl -sSN %[1]s/completion -H 'Authorization: Bearer %[3]s' -H 'Content-Type: application/json' -d '{"prompt":"Summarise: The mill stands by the river. It was built in 1732 by the abbey. It grinds rye.","stream":true}'

  # completion: the OpenAI form, for any OpenAI SDK with base URL %[1]s/v1
  curl -sS %[1]s/v1/chat/completions -H 'Authorization: Bearer %[3]s' -H 'Content-Type: application/json' -d '{"model":"standard","messages":[{"role":"user","content":"Who built the mill? The mill was built in 1732 by the abbey."}]}'

  # remediation: what is in force, and why
  curl -sS %[1]s/remediation -H 'Authorization: Bearer %[4]s'

  # remediation: every request to the economy model for ten minutes
  curl -sS %[1]s/remediation/switch-model -H 'Authorization: Bearer %[4]s' -H 'Content-Type: application/json' -d '{"idempotency_key":"'$(date +%%s)'","timestamp":"'$(date -u +%%Y-%%m-%%dT%%H:%%M:%%SZ)'","scope":{},"params":{"model":"economy"},"duration":"10m","source":{"kind":"operator","operator":"me","reason":"trying it out"}}'

  # diagnosis: is the provider up
  curl -sS -X POST %[1]s/diagnosis/provider -H 'Authorization: Bearer %[4]s'

  # what is in force, what fired, what it cost
  bin/lrcp status --url %[1]s --secret %[4]s

  # insights: the health score and its parts, once there was traffic
  curl -sS %[1]s/insights -H 'Authorization: Bearer %[4]s'

  # health of all functions
  curl -sS %[1]s/health

  # monitors, as Datadog's own API lists them
  curl -sS '%[2]s/api/v1/monitor?monitor_tags=team:llm-platform' -H 'DD-API-KEY: %[6]s' -H 'DD-APPLICATION-KEY: %[7]s'

Ctrl-C stops.
`, s.URL, s.DatadogURL, s.APIKey, s.ControlSecret, models(s.Providers), s.DatadogAPIKey, s.DatadogAppKey, page, note)
}

// browse opens an address in the browser of whoever is at the terminal.
func browse(ctx context.Context, address string) error {
	name, args := "xdg-open", []string{address}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", address}
	}
	if err := exec.CommandContext(ctx, name, args...).Run(); err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	return nil
}

// models names the providers on the route, and says what the embedded one is.
func models(providers []string) string {
	names := slices.Clone(providers)
	if i := slices.Index(names, embedded.Provider); i >= 0 {
		names[i] += " (ranks the sentences of the document that you send; no download)"
	}
	return strings.Join(names, ", then ")
}
