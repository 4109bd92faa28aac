// Package genai calls Gemini on Vertex AI through google.golang.org/genai, over HTTP.
//
// It retries nothing, chooses nothing and reads no environment but what Google's libraries read for application default
// credentials and proxies. The SDK's own retries, reconnections and continuations are off: one call is one request.
package genai

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net/http"
	"net/url"
	"strings"

	sdk "google.golang.org/genai"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/auth/httptransport"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/internal/gemini"
)

// DefaultLocation is where calls go unless the options say where.
const DefaultLocation = "global"

// scope is what a token must be good for.
const scope = "https://www.googleapis.com/auth/cloud-platform"

// Threshold says from which probability of harm on Google's filters withhold an answer; see Options.
type Threshold = gemini.Threshold

// The thresholds.
const (
	BlockLowAndAbove    = gemini.BlockLowAndAbove
	BlockMediumAndAbove = gemini.BlockMediumAndAbove
	BlockOnlyHigh       = gemini.BlockOnlyHigh
	BlockNone           = gemini.BlockNone
	Off                 = gemini.Off
	ModelDefault        = gemini.ModelDefault
)

// Options say what to call, and as whom.
type Options struct {
	// Project is the Google Cloud project that is billed.
	Project string
	// Location is a region such as us-central1, a multi-region such as eu, or global, which is DefaultLocation.
	Location string
	// Credentials are the caller's; nil means application default credentials.
	Credentials *auth.Credentials
	// BaseURL is the address of a stand-in, or of Vertex AI behind another name; empty for Vertex AI itself. Over http without
	// TLS no credentials are sent.
	BaseURL string
	// HTTPClient makes the calls and brings its own credentials; nil is a client of the model's own, whose connections are
	// kept for later calls.
	HTTPClient *http.Client
	// Safety is the threshold of all categories of harm; BlockOnlyHigh when empty, whatever the model's own default is.
	Safety Threshold
}

// notices are parts of what the SDK says when a client is opened in an environment with keys of the Gemini API, which are
// not used here.
var notices = []string{"GOOGLE_API_KEY and GEMINI_API_KEY are set", "will take precedence over the API key from the environment"}

// Model implements llm.Model; it is safe for concurrent use.
type Model struct {
	models *sdk.Models
	close  func()
	safety []*sdk.SafetySetting
}

var _ llm.Model = (*Model)(nil)

// New checks the options and returns a Model. It calls nobody, but that it looks for application default credentials where it
// is given none and needs some.
func New(ctx context.Context, o Options) (*Model, error) {
	o.Location = cmp.Or(o.Location, DefaultLocation)
	if err := gemini.CheckPlace(o.Project, o.Location); err != nil {
		return nil, fmt.Errorf("genai: %w", err)
	}
	plain := false
	if o.BaseURL != "" {
		u, err := url.Parse(o.BaseURL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return nil, errors.New("genai: the base URL must be like https://aiplatform.googleapis.com")
		}
		plain = u.Scheme == "http"
	}
	if o.Safety == "" {
		o.Safety = gemini.DefaultThreshold
	}
	if err := o.Safety.Check(); err != nil {
		return nil, fmt.Errorf("genai: %w", err)
	}
	client, closes, err := httpClient(o, plain)
	if err != nil {
		return nil, fmt.Errorf("genai: %w", err)
	}
	config := &sdk.ClientConfig{
		Backend: sdk.BackendVertexAI, Project: o.Project, Location: o.Location, HTTPClient: client,
		// A base URL that is given wins over what the SDK finds in the environment.
		HTTPOptions: sdk.HTTPOptions{BaseURL: cmp.Or(o.BaseURL, "https://"+gemini.Host(o.Location)), APIVersion: "v1beta1"},
	}
	var c *sdk.Client
	gemini.Quietly(func() { c, err = sdk.NewClient(ctx, config) }, notices...)
	if err != nil {
		return nil, fmt.Errorf("genai: %w", err)
	}
	return &Model{models: c.Models, close: closes, safety: safety(o.Safety)}, nil
}

// httpClient returns the client that the SDK uses, and what closes its connections. It follows no redirect: one call is one
// request.
func httpClient(o Options, plain bool) (*http.Client, func(), error) {
	closes := func() {} // a client of others is not ours to close
	var client http.Client
	if o.HTTPClient != nil {
		client = *o.HTTPClient
	}
	if client.Transport == nil {
		base := gemini.NewBase()
		client.Transport, closes = base, base.CloseIdleConnections
	}
	client.Transport = gemini.Transport{Base: client.Transport}
	if o.HTTPClient == nil && !plain {
		opts := httptransport.Options{Credentials: o.Credentials, BaseRoundTripper: client.Transport, DisableTelemetry: true}
		if o.Credentials == nil {
			// A token is renewed by the call that needs it: functions freeze between calls.
			opts.DetectOpts = &credentials.DetectOptions{Scopes: []string{scope}, UseSelfSignedJWT: true, DisableAsyncRefresh: true}
		}
		authorized, err := httptransport.NewClient(&opts)
		if err != nil {
			return nil, nil, err
		}
		client = *authorized
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client, closes, nil
}

// safety translates a threshold.
func safety(t Threshold) []*sdk.SafetySetting {
	if t == ModelDefault {
		return nil
	}
	var out []*sdk.SafetySetting
	for _, c := range gemini.Categories() {
		out = append(out, &sdk.SafetySetting{Category: sdk.HarmCategory(c), Threshold: sdk.HarmBlockThreshold(t)})
	}
	return out
}

// Close releases the model's own connections that wait for later calls.
func (m *Model) Close() error {
	m.close()
	return nil
}

// Generate implements llm.Model.
func (m *Model) Generate(ctx context.Context, req llm.Request) (*llm.Response, error) {
	contents, config, err := m.params(req)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, gemini.Ended(ctx, req.Model)
	}
	called, x := gemini.NewExchange(ctx)
	defer x.Close()
	r, err := m.generate(called, req.Model, contents, config)
	if err != nil || x.Failed() || r == nil || !reply(r).Says() {
		return nil, x.Failure(ctx, req.Model, err, false)
	}
	a := gemini.NewAnswer(req)
	return a.Response(a.Add(reply(r)))
}

// generate calls the SDK, which panics at some responses of another shape than it expects.
func (m *Model) generate(ctx context.Context, model string, contents []*sdk.Content, config *sdk.GenerateContentConfig) (r *sdk.GenerateContentResponse, err error) {
	defer func() {
		if recover() != nil {
			r, err = nil, errShape
		}
	}()
	return m.models.GenerateContent(ctx, model, contents, config)
}

var errShape = errors.New("a response of another shape")

// Stream implements llm.Model. The finish reason is kept back until the server has ended the stream, because the usage may
// come after it.
func (m *Model) Stream(ctx context.Context, req llm.Request) iter.Seq2[llm.Chunk, error] {
	return func(yield func(llm.Chunk, error) bool) {
		contents, config, err := m.params(req)
		if err != nil {
			yield(llm.Chunk{}, err)
			return
		}
		if ctx.Err() != nil {
			yield(llm.Chunk{}, gemini.Ended(ctx, req.Model))
			return
		}
		parent := ctx
		ctx, cancel := context.WithCancel(parent)
		defer cancel()
		called, x := gemini.NewExchange(ctx)
		defer x.Close()
		a := gemini.NewAnswer(req)
		begun, left := false, false
		err = m.stream(called, req.Model, contents, config, func(r *sdk.GenerateContentResponse) bool {
			begun = true
			text := a.Add(reply(r))
			left = text != "" && !yield(llm.Chunk{Text: text, Model: a.Model, ID: a.ID}, nil)
			return !left && parent.Err() == nil
		})
		if left {
			return
		}
		if err := end(parent, req, a, x, err, begun); err != nil {
			yield(llm.Chunk{}, err)
			return
		}
		yield(a.Chunk, nil)
	}
}

// stream calls the SDK and hands on what it yields, until take is over or the SDK fails. A panic of the SDK is an error, one
// of take is not.
func (m *Model) stream(ctx context.Context, model string, contents []*sdk.Content, config *sdk.GenerateContentConfig, take func(*sdk.GenerateContentResponse) bool) (err error) {
	taking := false
	defer func() {
		if taking {
			return
		}
		if recover() != nil {
			err = errShape
		}
	}()
	for r, err := range m.models.GenerateContentStream(ctx, model, contents, config) {
		if err != nil {
			return err
		}
		taking = true
		more := take(r)
		taking = false
		if !more {
			return nil
		}
	}
	return nil
}

// end judges how a stream ended. What breaks after the finish reason costs the usage, and not the answer.
func end(ctx context.Context, req llm.Request, a *gemini.Answer, x *gemini.Exchange, err error, begun bool) error {
	var e *llm.Error
	var inBand sdk.APIError
	switch {
	case ctx.Err() != nil:
		e = gemini.Ended(ctx, req.Model)
	case a.Finish != "":
		e = a.Judge()
	case x.Failed():
		e = x.Failure(ctx, req.Model, err, true)
	case errors.As(err, &inBand):
		e = fault(inBand).Error(req.Model)
	case err != nil, !begun && x.ContentType != "text/event-stream":
		e = x.Failure(ctx, req.Model, err, true)
	default:
		e = &llm.Error{Kind: llm.BrokenStream, Provider: gemini.Provider, Model: req.Model, Err: io.ErrUnexpectedEOF}
	}
	if e == nil {
		return nil
	}
	e.Usage = cmp.Or(e.Usage, a.Usage)
	return e
}

// fault is what an error in the midst of a stream says. The SDK gives a failed response the same type, but that is read
// below it.
func fault(e sdk.APIError) gemini.Said {
	return gemini.FromError(e.Code, e.Status, e.Message, e.Details)
}

// params translates a request. It copies what it takes from slices.
func (m *Model) params(req llm.Request) ([]*sdk.Content, *sdk.GenerateContentConfig, error) {
	p, err := gemini.NewPrompt(req)
	if err != nil {
		return nil, nil, err
	}
	config := &sdk.GenerateContentConfig{SafetySettings: m.safety, AutomaticContinuation: new(false)}
	if p.System != nil {
		config.SystemInstruction = &sdk.Content{Parts: parts(p.System)}
	}
	if req.Temperature != nil {
		config.Temperature = new(float32(*req.Temperature))
	}
	if req.MaxTokens > 0 {
		config.MaxOutputTokens = int32(min(req.MaxTokens, math.MaxInt32))
	}
	for _, s := range req.Stop {
		config.StopSequences = append(config.StopSequences, strings.ToValidUTF8(s, "\uFFFD"))
	}
	contents := make([]*sdk.Content, len(p.Turns))
	for i, t := range p.Turns {
		contents[i] = &sdk.Content{Role: t.Role, Parts: parts(t.Texts)}
	}
	return contents, config, nil
}

func parts(texts []string) []*sdk.Part {
	out := make([]*sdk.Part, len(texts))
	for i, t := range texts {
		out[i] = &sdk.Part{Text: t}
	}
	return out
}

// reply is the SDK's response in the form that both adapters share.
func reply(r *sdk.GenerateContentResponse) gemini.Reply {
	out := gemini.Reply{ModelVersion: r.ModelVersion, ResponseID: r.ResponseID}
	if f := r.PromptFeedback; f != nil {
		out.PromptFeedback = &gemini.PromptFeedback{BlockReason: gemini.Reason(f.BlockReason)}
	}
	if u := r.UsageMetadata; u != nil {
		out.Usage = &gemini.Usage{
			Prompt: int(u.PromptTokenCount), Cached: int(u.CachedContentTokenCount), ToolUsePrompt: int(u.ToolUsePromptTokenCount),
			Candidates: int(u.CandidatesTokenCount), Thoughts: int(u.ThoughtsTokenCount),
		}
	}
	for _, c := range r.Candidates {
		var to gemini.Candidate
		if c != nil {
			to.FinishReason = gemini.Reason(c.FinishReason)
			if c.Content != nil {
				for _, p := range c.Content.Parts {
					if p != nil {
						to.Content.Parts = append(to.Content.Parts, gemini.Part{Text: p.Text, Thought: p.Thought})
					}
				}
			}
		}
		out.Candidates = append(out.Candidates, to)
	}
	return out
}
