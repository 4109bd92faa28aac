package secrets_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/wire/secrets"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

// secretsManager speaks the JSON protocol of AWS Secrets Manager, as far as GetSecretValue goes. It counts its calls.
func secretsManager(t *testing.T, held map[string]string) *atomic.Int32 {
	t.Helper()
	var calls atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		var in struct {
			SecretID string `json:"SecretId"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue" {
			t.Errorf("%s with %v is no GetSecretValue", r.Header.Get("X-Amz-Target"), err)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		value, ok := held[in.SecretID]
		if !ok {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}`)
			return
		}
		if err := json.NewEncoder(w).Encode(map[string]string{"ARN": in.SecretID, "SecretString": value}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": server.URL, "AWS_REGION": "eu-west-1",
		"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_SESSION_TOKEN": "token",
	} {
		t.Setenv(name, value)
	}
	return &calls
}

type vars map[string]string

func (v vars) get(name string) string { return v[name] }

func TestSecretsAreReadByTheirARN(t *testing.T) {
	const keysARN, controlARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:keys", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:control"
	for name, tt := range map[string]struct {
		vars  vars
		want  map[string]string
		bad   []string
		calls int32
	}{
		"without an ARN nothing is asked": {vars{"A": "plain"}, map[string]string{"A": "plain", "B": ""}, nil, 0},
		"each secret by its own":          {vars{"A_SECRET_ARN": keysARN, "B_SECRET_ARN": controlARN}, map[string]string{"A": "the keys", "B": "the secret"}, nil, 2},
		"one as a variable, one by ARN":   {vars{"A": "plain", "B_SECRET_ARN": controlARN}, map[string]string{"A": "plain", "B": "the secret"}, nil, 1},
		"a secret that nobody reads":      {vars{"C_SECRET_ARN": keysARN}, map[string]string{"A": "", "C": ""}, nil, 0},
		"both forms at once":              {vars{"A": "plain", "A_SECRET_ARN": keysARN}, nil, []string{"both A and A_SECRET_ARN"}, 0},
		"secrets that are not there, all are named": {
			vars{"A_SECRET_ARN": "arn:none", "B_SECRET_ARN": "arn:neither"}, nil, []string{"A_SECRET_ARN", "B_SECRET_ARN", "ResourceNotFoundException"}, 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			calls := secretsManager(t, map[string]string{keysARN: "the keys", controlARN: "the secret"})
			got := map[string]string{}
			build := secrets.Reading(func(_ context.Context, d serverless.Deps) (serverless.Function, error) {
				for name := range tt.want {
					got[name] = d.Getenv(name)
				}
				return serverless.Function{}, nil
			}, "A", "B")
			_, err := build(t.Context(), serverless.Deps{Getenv: tt.vars.get})
			if (err != nil) != (tt.bad != nil) {
				t.Fatalf("error %v, want one that names %q", err, tt.bad)
			}
			for _, part := range tt.bad {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not name %s", err, part)
				}
			}
			if diff := cmp.Diff(tt.want, got); tt.bad == nil && diff != "" {
				t.Errorf("environment (-want +got):\n%s", diff)
			}
			if calls.Load() != tt.calls {
				t.Errorf("%d calls, want %d", calls.Load(), tt.calls)
			}
		})
	}
}
