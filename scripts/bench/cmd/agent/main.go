// Command agent stands in for the Datadog agent: it says what it takes, takes it, counts it, and throws it away. It costs
// as little as an agent can, so that what is measured is the sender.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// Counts are what has arrived since the start.
type Counts struct {
	Traces      int64 `json:"traces"`
	LLMSpans    int64 `json:"llm_spans"`
	Evaluations int64 `json:"evaluations"`
	Metrics     int64 `json:"metrics"`
	Requests    int64 `json:"requests"`
	Bytes       int64 `json:"bytes"`
	Unknown     int64 `json:"unknown"`
}

var info = []byte(`{"version":"7.0.0","endpoints":["/v0.4/traces","/v0.6/stats","/evp_proxy/v2/","/telemetry/proxy/"],"client_drop_p0s":false,"config":{}}`)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "the address of the agent's HTTP API")
	statsd := flag.String("statsd", "127.0.0.1:0", "the address of DogStatsD")
	flag.Parse()
	var traces, spans, evaluations, metrics, requests, size, unknown atomic.Int64
	socket, err := net.ListenPacket("udp", *statsd)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		packet := make([]byte, 64<<10)
		for {
			n, _, err := socket.ReadFrom(packet)
			if err != nil {
				log.Fatal(err)
			}
			size.Add(int64(n))
			metrics.Add(int64(bytes.Count(bytes.TrimSpace(packet[:n]), []byte("\n")) + 1))
		}
	}()
	handler := func(ctx *fasthttp.RequestCtx) {
		path, body := ctx.Path(), ctx.PostBody()
		if string(path) == "/counts" {
			// A struct of numbers marshals.
			_ = json.NewEncoder(ctx).Encode(Counts{
				Traces: traces.Load(), LLMSpans: spans.Load(), Evaluations: evaluations.Load(), Metrics: metrics.Load(),
				Requests: requests.Load(), Bytes: size.Load(), Unknown: unknown.Load(),
			})
			return
		}
		requests.Add(1)
		size.Add(int64(len(body)))
		switch {
		case string(path) == "/info":
			ctx.SetContentType("application/json")
			_, _ = ctx.Write(info) // It writes to memory.
		case bytes.HasSuffix(path, []byte("/traces")):
			n, err := strconv.Atoi(string(ctx.Request.Header.Peek("X-Datadog-Trace-Count")))
			if err != nil {
				ctx.SetStatusCode(http.StatusBadRequest)
				return
			}
			traces.Add(int64(n))
			ctx.SetContentType("application/json")
			_, _ = ctx.WriteString(`{"rate_by_service":{}}`) // It writes to memory.
		case bytes.HasSuffix(path, []byte("/api/v2/llmobs")):
			spans.Add(int64(bytes.Count(body, []byte(`"event_type"`))))
			ctx.SetStatusCode(http.StatusAccepted)
		case bytes.HasSuffix(path, []byte("/eval-metric")):
			evaluations.Add(int64(bytes.Count(body, []byte(`"metric_type"`))))
			ctx.SetStatusCode(http.StatusAccepted)
		default:
			unknown.Add(1)
			ctx.SetStatusCode(http.StatusNotFound)
		}
	}
	server := &fasthttp.Server{Handler: handler, MaxRequestBodySize: 64 << 20}
	log.Fatal(server.ListenAndServe(*listen))
}
