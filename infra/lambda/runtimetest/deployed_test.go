package runtimetest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/lambda/runtimetest"
	"github.com/llm-reliability/control-plane/shared/control/dynamodb/dynamotest"
	"github.com/llm-reliability/control-plane/shared/llm/vertextest"
)

// TestFunctionConfiguredAsInADeployment has the environment that serverless.yml gives to a data function, with its secrets by
// ARN, and nothing of ours that points at a stand-in: AWS is found by the variables of its SDK, Google by its names, through
// a proxy. The region does not have the model, so that the answer comes from everywhere.
func TestFunctionConfiguredAsInADeployment(t *testing.T) {
	for _, transport := range []string{"rest", "grpc"} {
		t.Run(transport, func(t *testing.T) { deployed(t, transport) })
	}
}

func deployed(t *testing.T, transport string) {
	t.Helper()
	vertex := vertextest.Start(t, vertextest.Options{Reply: func(r *vertextest.Request) vertextest.Reply {
		if r.Location == "europe-west1" {
			return vertextest.Reply{Error: vertextest.NoSuchModel(r)}
		}
		return vertextest.Answer(r)
	}})
	tunnel := vertextest.NewTunnel(t, vertex)
	state := httptest.NewServer(&dynamotest.Table{Name: "lrcp"})
	defer state.Close()
	const arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:lrcp/api-keys-AbCdEf"
	key := sha256.Sum256([]byte(apiKey))
	secrets := secretsManager(t, map[string]string{arn: "tests:" + hex.EncodeToString(key[:])})
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		fmt.Fprint(w, `{"access_token":"ya29.deployed","expires_in":3600,"token_type":"Bearer"}`)
	}))
	defer metadata.Close()

	l := startLambda(t, completion, slices.Concat(tunnel.Env, []string{
		"LRCP_STATE=dynamodb:lrcp", "AWS_ENDPOINT_URL_DYNAMODB=" + state.URL,
		"LRCP_API_KEYS=", "LRCP_API_KEYS_SECRET_ARN=" + arn, "AWS_ENDPOINT_URL_SECRETS_MANAGER=" + secrets,
		"AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=key", "AWS_SESSION_TOKEN=token",
		"LRCP_PROVIDER=", "LRCP_VERTEXAI_TRANSPORT=" + transport, "GOOGLE_CLOUD_PROJECT=project", "GOOGLE_CLOUD_LOCATION=europe-west1",
		"GCE_METADATA_HOST=" + strings.TrimPrefix(metadata.URL, "http://"),
	})...)
	r := response(t, wait(t, l.Invoke(runtimetest.URLEvent(t, "POST", "/completion",
		map[string]string{"authorization": "Bearer " + apiKey, "content-type": "application/json"},
		`{"prompt":"Who wrote the first program?","model":"gemini-1.5-pro"}`))))
	var got struct {
		Completion string
		Metadata   struct {
			Model, Provider, Route string
			Attempts               int
			CostUSD                *float64 `json:"cost_usd"`
		}
	}
	if err := json.Unmarshal([]byte(r.Body), &got); err != nil || r.Status != http.StatusOK {
		t.Fatalf("status %d, %q: %v", r.Status, r.Body, err)
	}
	m := got.Metadata
	if got.Completion == "" || m.Provider != "google" || m.Route != "quality" || m.Attempts != 2 || m.CostUSD == nil || !strings.HasPrefix(m.Model, "gemini-3.1-pro-preview") {
		t.Errorf("got %s; want an answer of google's gemini-3.1-pro-preview, as the quality tier, in two attempts, with its cost", r.Body)
	}
	var asked []string
	for _, request := range vertex.Requests() {
		asked = append(asked, strings.Join([]string{request.Transport, request.Location, request.Model, request.Authorization}, " "))
	}
	want := []string{transport + " europe-west1 gemini-3.1-pro-preview Bearer ya29.deployed", "rest global gemini-3.1-pro-preview Bearer ya29.deployed"}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("asked of Vertex AI (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"europe-west1-aiplatform.googleapis.com", "aiplatform.googleapis.com"}, tunnel.Hosts()); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	if health := response(t, wait(t, l.Invoke(runtimetest.URLEvent(t, "GET", "/health", nil, "")))); !strings.Contains(health.Body, `"control_state":"reachable"`) {
		t.Errorf("health is %s, want the control state reachable", health.Body)
	}
	checkOutput(t, l.process)
}

// secretsManager answers GetSecretValue in the protocol of AWS Secrets Manager, and returns its address.
func secretsManager(t *testing.T, held map[string]string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			SecretID string `json:"SecretId"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || held[in.SecretID] == "" {
			t.Errorf("read secret %q: %v", in.SecretID, err)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if err := json.NewEncoder(w).Encode(map[string]string{"SecretString": held[in.SecretID]}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}
