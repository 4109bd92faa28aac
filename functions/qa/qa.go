// Package qa answers a question, from a document where one is given: POST /qa.
//
// It decodes, builds the prompt and encodes; everything in between is the gateway's.
package qa

import (
	"errors"
	"net/http"

	"github.com/llm-reliability/control-plane/functions/internal/answer"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/llm"
)

// Options are the dependencies of the function.
type Options struct {
	// Gateway is required.
	Gateway *gateway.Gateway
	// Judging judges nothing when zero.
	Judging Judging
}

// Response is the answer to POST /qa.
type Response struct {
	Answer   string          `json:"answer"`
	Metadata answer.Metadata `json:"metadata"`
}

// New returns the handler.
func New(opts Options) (http.Handler, error) {
	if opts.Gateway == nil {
		return nil, errors.New("qa: Gateway is required")
	}
	if err := opts.Judging.check(); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /qa", handleQA(opts.Gateway, &opts.Judging))
	return mux, nil
}

func handleQA(gw *gateway.Gateway, judging *Judging) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		call := answer.NewCall(w, r, "qa", llm.QA)
		req := Request{offers: gw.Offers}
		if err := httpjson.Decode(w, r, maxBody, &req); err != nil {
			problem := httpjson.FromError(err)
			gw.Reject(ctx, call, problem)
			httpjson.WriteProblem(w, problem, call.RequestID)
			return
		}
		call.Model, call.Request = req.Model, prompt(req)
		call.PromptID, call.PromptVersion = promptID, promptVersion
		e, err := gw.Do(ctx, call, nil)
		if err != nil {
			httpjson.WriteProblem(w, httpjson.FromError(err), call.RequestID)
			return
		}
		httpjson.Write(w, http.StatusOK, Response{e.Output, answer.Describe(ctx, e)})
		judging.after(ctx, w, e)
	})
}
