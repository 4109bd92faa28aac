// Command bifrost serves Bifrost's core over net/http: its OpenAI provider with its pools, and no plugin, no log, no
// governance. It is less than the gateway of that name, which cannot be had as a Go module.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/http"
	"time"

	bifrost "github.com/maximhq/bifrost/core"
	"github.com/maximhq/bifrost/core/providers/openai"
	"github.com/maximhq/bifrost/core/schemas"
)

// account has one provider with one key.
type account struct{ upstream string }

func (a account) GetConfiguredProviders() ([]schemas.ModelProvider, error) {
	return []schemas.ModelProvider{schemas.OpenAI}, nil
}

func (a account) GetKeysForProvider(context.Context, schemas.ModelProvider) ([]schemas.Key, error) {
	return []schemas.Key{{ID: "key", Name: "key", Value: *schemas.NewSecretVar("none"), Models: schemas.WhiteList{"*"}, Weight: 1}}, nil
}

func (a account) GetConfigForProvider(schemas.ModelProvider) (*schemas.ProviderConfig, error) {
	return &schemas.ProviderConfig{
		NetworkConfig: schemas.NetworkConfig{BaseURL: a.upstream, DefaultRequestTimeoutInSeconds: 30, MaxRetries: 0, AllowPrivateNetwork: true},
		// Its defaults are a thousand workers and room for five thousand requests.
		ConcurrencyAndBufferSize: schemas.ConcurrencyAndBufferSize{Concurrency: 256, BufferSize: 1024},
	}, nil
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "the address to serve at")
	upstream := flag.String("upstream", "", "the base URL of the mock")
	flag.Parse()
	client, err := bifrost.Init(context.Background(), schemas.BifrostConfig{
		Account: account{*upstream}, Logger: bifrost.NewDefaultLogger(schemas.LogLevelError), InitialPoolSize: 256,
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // The client is gone.
		}
		var req openai.OpenAIChatRequest
		if err := json.Unmarshal(body, &req); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ctx, cancel := schemas.NewBifrostContextWithCancel(r.Context())
		defer cancel()
		call := req.ToBifrostChatRequest(ctx)
		call.Provider, call.Model = schemas.OpenAI, req.Model
		if req.Stream != nil && *req.Stream {
			stream(ctx, w, client, call)
			return
		}
		resp, failure := client.ChatCompletionRequest(ctx, call)
		if failure != nil {
			fail(w, failure)
			return
		}
		data, err := json.Marshal(resp)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(data) // The client is gone when this fails.
	})
	server := &http.Server{Addr: *listen, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func stream(ctx *schemas.BifrostContext, w http.ResponseWriter, client *bifrost.Bifrost, call *schemas.BifrostChatRequest) {
	chunks, failure := client.ChatCompletionStreamRequest(ctx, call)
	if failure != nil {
		fail(w, failure)
		return
	}
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	for chunk := range chunks {
		data, err := json.Marshal(chunk)
		if err != nil {
			return
		}
		if _, err := w.Write(append(append([]byte("data: "), data...), "\n\n"...)); err != nil || control.Flush() != nil {
			return // The client is gone.
		}
		if chunk.BifrostError != nil {
			return
		}
	}
	_, _ = io.WriteString(w, "data: [DONE]\n\n") // The client is gone when this fails.
}

func fail(w http.ResponseWriter, failure *schemas.BifrostError) {
	status := http.StatusBadGateway
	if failure.StatusCode != nil && *failure.StatusCode >= 400 {
		status = *failure.StatusCode
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(failure) // The client is gone when this fails.
}
