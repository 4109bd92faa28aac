package serverless_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

// FuzzParseAPIKeys checks that a list is either refused without showing any of it, or accepts exactly the keys whose
// hashes it holds.
func FuzzParseAPIKeys(f *testing.F) {
	sum := sha256.Sum256([]byte("the-key"))
	good := hex.EncodeToString(sum[:])
	for _, seed := range []string{"", ",", "web:" + good, "web:" + strings.ToUpper(good) + ", web:" + good, "web:short", ":" + good, "a b:" + good, good} {
		f.Add(seed, "the-key")
	}
	f.Fuzz(func(t *testing.T, list, token string) {
		e := env.New(func(string) string { return list })
		entries := e.Secrets("KEYS")
		keys, err := serverless.ParseAPIKeys(entries)
		if err != nil {
			for _, entry := range entries {
				if len(entry) > 12 && strings.Contains(err.Error(), entry.Reveal()) {
					t.Errorf("the error for %q shows an entry: %v", list, err)
				}
			}
			return
		}
		if len(entries) == 0 {
			t.Fatalf("%q was accepted, and holds no key", list)
		}
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header["Authorization"] = []string{"Bearer " + token}
		caller, ok := keys.Authenticate(r)
		sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
		listed := strings.Contains(strings.ToLower(list), hex.EncodeToString(sum[:]))
		if ok != listed || ok && !strings.Contains(list, caller+":") {
			t.Errorf("token %q is %q, %v with the list %q", token, caller, ok, list)
		}
	})
}

// FuzzDispatch checks that any event is either refused, or answered in the form of its kind, and that the handler only
// ever sees a request with a method and a rooted path.
func FuzzDispatch(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `[]`, `"text"`, `{"Records":[]}`, `{"method":"POST","path":"/x","headers":{"a":"b"},"body":{"n":1}}`,
		`{"method":"POST","path":"/x","body":"text"}`, `{"method":"PO ST","path":"/x"}`, `{"method":"GET","path":"//x?%zz"}`,
		`{"method":"GET","path":"x"}`, `{"method":"GET","path":"/","headers":{"a\n":"b\r\n"}}`,
		`{"version":"2.0","rawPath":"/x","rawQueryString":"q=1","headers":{"host":"h"},"requestContext":{"http":{"method":"GET"}},"body":"","isBase64Encoded":false}`,
		`{"rawPath":"/%zz","requestContext":{"http":{"method":"GET"}},"body":"!","isBase64Encoded":true}`,
		`{"requestContext":{"http":{"method":"G T"}}}`, ruleEvent, schedulerEvent,
		`{"source":"aws.events","detail-type":"Scheduled Event","requestContext":{"http":{"method":"GET"}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, event []byte) {
		mux := http.NewServeMux()
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "" || !strings.HasPrefix(r.URL.Path, "/") {
				t.Errorf("the handler got %q %q for %q", r.Method, r.URL.Path, event)
			}
			// The body is read for its own sake; an error of it is the request's.
			_, _ = io.Copy(w, r.Body)
		})
		mux.HandleFunc("GET /job", func(_ http.ResponseWriter, r *http.Request) {
			var keys map[string]json.RawMessage
			if err := json.Unmarshal(event, &keys); err != nil {
				t.Errorf("the handler got a request for %q", event)
			}
			for key := range keys {
				if serverless.Caller(r.Context()) == "schedule" && strings.EqualFold(key, "requestContext") {
					t.Errorf("a request was taken for a schedule: %q", event)
				}
			}
		})
		f := serverless.Function{Handler: mux, Schedule: &serverless.Job{Method: "GET", Path: "/job"}}
		dispatch, err := serverless.Dispatch(f, serverless.Options{Name: "f"})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := dispatch(t.Context(), event)
		if err != nil {
			return
		}
		if stream, ok := answer.(io.Reader); ok {
			if _, err := io.ReadAll(stream); err != nil {
				t.Errorf("the response to %q cannot be read: %v", event, err)
			}
			return
		}
		doc, err := json.Marshal(answer)
		if err != nil || !strings.Contains(string(doc), `"status":`) {
			t.Errorf("the response to %q is %q, %v", event, doc, err)
		}
	})
}
