// Package remediation is the function that monitors' workflows and operators call: POST /remediation/{action} changes how
// the next requests are served, and GET /remediation says what is in force, why, until when, and what was.
//
// It decodes and encodes; what is allowed is decided by shared/remediation.
package remediation

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/remediation"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

const (
	maxBody = 64 << 10
	// defaultHistory and maxHistory bound how many past overrides GET /remediation lists, historyWindow how old they are.
	defaultHistory = 50
	maxHistory     = 1000
	historyWindow  = 30 * 24 * time.Hour
)

// Options are the dependencies of the function.
type Options struct {
	// Controller is required.
	Controller *remediation.Controller
}

// New returns the handler.
func New(opts Options) (http.Handler, error) {
	if opts.Controller == nil {
		return nil, errors.New("remediation: Controller is required")
	}
	mux := http.NewServeMux()
	mux.Handle("POST /remediation/{action}", handleAction(opts.Controller))
	mux.Handle("GET /remediation", handleReport(opts.Controller))
	return mux, nil
}

func handleAction(c *remediation.Controller) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := Request{action: control.Action(r.PathValue("action"))}
		if err := httpjson.Decode(w, r, maxBody, &body); err != nil {
			fail(w, r, err)
			return
		}
		decision, err := c.Apply(r.Context(), body.request())
		if err != nil {
			fail(w, r, err)
			return
		}
		httpjson.Write(w, http.StatusOK, response(decision))
	})
}

func handleReport(c *remediation.Controller) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit := defaultHistory
		if text := r.URL.Query().Get("limit"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 || n > maxHistory {
				fail(w, r, &httpjson.Problem{Status: http.StatusBadRequest, Detail: "the query is not acceptable",
					Errors: []httpjson.FieldError{{Field: "limit", Detail: fmt.Sprintf("must be a whole number from 0 to %d", maxHistory)}}})
				return
			}
			limit = n
		}
		report, err := c.Report(r.Context(), historyWindow, limit)
		if err != nil {
			fail(w, r, err)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		httpjson.Write(w, http.StatusOK, document(report))
	})
}

// statuses is the HTTP status of each reason for a refusal. 409 tells a workflow that repeating is pointless and a
// person is needed; 429 and 503 carry Retry-After.
var statuses = map[remediation.Reason]int{
	remediation.BadTimestamp:     http.StatusBadRequest,
	remediation.UnknownAction:    http.StatusNotFound,
	remediation.BadParams:        http.StatusBadRequest,
	remediation.IDReused:         http.StatusConflict,
	remediation.Stale:            http.StatusConflict,
	remediation.UnknownScope:     http.StatusBadRequest,
	remediation.UnknownModel:     http.StatusBadRequest,
	remediation.TooLong:          http.StatusBadRequest,
	remediation.Frozen:           http.StatusConflict,
	remediation.Flap:             http.StatusConflict,
	remediation.Cooldown:         http.StatusTooManyRequests,
	remediation.Budget:           http.StatusTooManyRequests,
	remediation.NotFound:         http.StatusNotFound,
	remediation.StoreUnavailable: http.StatusServiceUnavailable,
}

func fail(w http.ResponseWriter, r *http.Request, err error) {
	if refusal, ok := errors.AsType[*remediation.Refusal](err); ok {
		err = &httpjson.Problem{Status: statuses[refusal.Reason], Detail: refusal.Detail, Code: string(refusal.Reason),
			Errors: refusal.Fields, RetryAfter: refusal.RetryAfter, Err: refusal}
	}
	httpjson.WriteProblem(w, httpjson.FromError(err), serverless.RequestID(r.Context()))
}
