package serverless

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/httpjson"
)

// Authenticator decides who sent a request.
type Authenticator interface {
	// Authenticate returns the caller's name, and false when the caller may not call. It takes as long for a wrong
	// credential as for a right one.
	Authenticate(r *http.Request) (caller string, ok bool)
}

// authenticate refuses requests that auth does not accept. It does not say why: only the caller who knows the secret
// needs to know more.
func authenticate(auth Authenticator) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		if auth == nil {
			return next
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			caller, ok := auth.Authenticate(r)
			if !ok {
				w.Header().Set("WWW-Authenticate", "Bearer")
				WriteError(w, r, &httpjson.Problem{Status: http.StatusUnauthorized, Detail: "a valid bearer token is required"})
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, caller)))
		})
	}
}

// APIKeys authenticates the callers of data functions. It holds hashes, never keys.
type APIKeys struct {
	names []string
	sums  [][sha256.Size]byte
}

var _ Authenticator = (*APIKeys)(nil)

// ParseAPIKeys reads entries of the form name:hash, where hash is the SHA-256 of the key in hexadecimal. Two entries
// may share a name, so that a key can be replaced while the old one works. The error names every bad entry by its
// position and quotes none.
func ParseAPIKeys(entries []env.Secret) (*APIKeys, error) {
	if len(entries) == 0 {
		return nil, errors.New("must hold at least one name:sha256 pair")
	}
	keys := &APIKeys{}
	var bad []string
	for i, entry := range entries {
		name, hash, found := strings.Cut(entry.Reveal(), ":")
		sum, err := hex.DecodeString(hash)
		switch {
		case !found:
			bad = append(bad, fmt.Sprintf("entry %d is no name:sha256 pair", i+1))
		case !plain(name):
			bad = append(bad, fmt.Sprintf("entry %d has no plain name", i+1))
		case err != nil || len(sum) != sha256.Size:
			bad = append(bad, fmt.Sprintf("entry %d has no SHA-256 in hexadecimal", i+1))
		default:
			keys.names = append(keys.names, name)
			keys.sums = append(keys.sums, [sha256.Size]byte(sum))
		}
	}
	if len(bad) > 0 {
		return nil, errors.New("cannot be used: " + strings.Join(bad, ", "))
	}
	return keys, nil
}

// Authenticate implements Authenticator with the name of the matching key.
func (k *APIKeys) Authenticate(r *http.Request) (string, bool) {
	return match(r, k.sums, func(i int) string { return k.names[i] })
}

// ControlSecrets authenticates the callers of control functions.
type ControlSecrets struct {
	sums [][sha256.Size]byte
}

var _ Authenticator = (*ControlSecrets)(nil)

// minSecret is the least length of a control secret in bytes; 24 random characters cannot be guessed.
const minSecret = 24

// ParseControlSecrets takes one secret, or two while one replaces the other. The error names every bad one by its
// position and quotes none.
func ParseControlSecrets(secrets []env.Secret) (*ControlSecrets, error) {
	if len(secrets) < 1 || len(secrets) > 2 {
		return nil, errors.New("must hold one secret, or two during a rotation")
	}
	out := &ControlSecrets{}
	var bad []string
	for i, secret := range secrets {
		if len(secret) < minSecret {
			bad = append(bad, fmt.Sprintf("secret %d is shorter than %d characters", i+1, minSecret))
		}
		out.sums = append(out.sums, sha256.Sum256([]byte(secret.Reveal())))
	}
	if len(bad) > 0 {
		return nil, errors.New("cannot be used: " + strings.Join(bad, ", "))
	}
	return out, nil
}

// Authenticate implements Authenticator; the caller's name is "control".
func (s *ControlSecrets) Authenticate(r *http.Request) (string, bool) {
	return match(r, s.sums, func(int) string { return "control" })
}

// match compares the bearer token with every sum, without stopping at the one that fits. Hashing first makes all
// comparisons the same length.
func match(r *http.Request, sums [][sha256.Size]byte, name func(int) string) (string, bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	got := sha256.Sum256([]byte(strings.TrimSpace(token)))
	found := -1
	for i := range sums {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(got[:], sums[i][:]), i, found)
	}
	if found < 0 || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return name(found), true
}

// APIKeysFromEnv reads the variable name, and records in e what is wrong with it. There is no way to go without: a
// function whose keys are missing does not start.
func APIKeysFromEnv(e *env.Env, name string) *APIKeys {
	keys, err := ParseAPIKeys(e.Secrets(name))
	if err != nil {
		e.Refuse(name, err.Error())
	}
	return keys
}

// ControlSecretsFromEnv is APIKeysFromEnv for control functions.
func ControlSecretsFromEnv(e *env.Env, name string) *ControlSecrets {
	secrets, err := ParseControlSecrets(e.Secrets(name))
	if err != nil {
		e.Refuse(name, err.Error())
	}
	return secrets
}
