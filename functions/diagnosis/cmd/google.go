package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/llm-reliability/control-plane/functions/diagnosis"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/googleauth"
)

// provider is the name of Google as a provider of models.
const provider = "google"

func ofGoogle(b diagnosis.Backend) bool { return b.Provider == provider }

// withGoogle gives the backends of Google the credentials that their models are called with: those of LRCP_GOOGLE_CREDENTIALS, or
// application default credentials. A stand-in for Vertex AI, at VERTEX_AI_EMULATOR_HOST, needs none.
func withGoogle(e *env.Env, backends []diagnosis.Backend) []diagnosis.Backend {
	var found *googleauth.Credentials
	for i, b := range backends {
		switch {
		case !ofGoogle(b):
		case e.String("VERTEX_AI_EMULATOR_HOST", "") != "":
			backends[i].Credentials = diagnosis.None{}
		default:
			if found == nil {
				if found = googleauth.FromEnv(e); found == nil {
					return backends
				}
			}
			backends[i].Credentials = google{found, diagnosis.Key{Client: b.Client, Model: b.Model}}
		}
	}
	return backends
}

// google are credentials for Google's models.
type google struct {
	credentials *googleauth.Credentials
	// call calls the model, since only that tells whether we may.
	call diagnosis.Key
}

var _ diagnosis.Credentials = google{}

// Check implements diagnosis.Credentials.
func (g google) Check(ctx context.Context) (diagnosis.Credential, error) {
	info, err := g.credentials.Describe(ctx)
	credential := diagnosis.Credential{Kind: info.Kind, Identity: info.Identity, Scopes: info.Scopes}
	if !info.ExpiresAt.IsZero() {
		credential.TokenExpiresAt = &info.ExpiresAt
	}
	if err != nil {
		return credential, failure(err)
	}
	_, err = g.call.Check(ctx)
	if e := llm.AsError(err); e != nil && e.Kind == llm.Forbidden && len(info.Scopes) > 0 && !slices.Contains(info.Scopes, googleauth.CloudPlatform) {
		err = fmt.Errorf("%w: %w", diagnosis.ErrScope, err)
	}
	return credential, err
}

// failure says what the state of the credentials means for a call with them.
func failure(err error) error {
	kind := llm.Internal
	if e, ok := errors.AsType[*googleauth.Error](err); ok {
		switch e.Kind {
		case googleauth.Expired:
			return fmt.Errorf("%w: %w", diagnosis.ErrExpired, err)
		case googleauth.Missing, googleauth.Malformed, googleauth.Refused:
			kind = llm.Unauthenticated
		case googleauth.Unavailable:
			kind = llm.ProviderFault
			if errors.Is(err, context.DeadlineExceeded) {
				kind = llm.Timeout
			}
		}
	}
	return &llm.Error{Kind: kind, Provider: provider, Err: err}
}
