package googleauth_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/llm/googleauth"
)

// The secrets that no error may show.
const (
	secretToken   = "ya29.s3cret-token"
	secretRefresh = "s3cret-refresh"
	secretClient  = "s3cret-client"
)

const (
	robot = "lrcp@project.iam.gserviceaccount.com"
	pool  = "//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/aws/providers/lambda"
)

// signer is the key of the service account.
var signer = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// google stands in for all of Google's hosts, and for the metadata server, behind one loopback address.
type google struct {
	t       *testing.T
	server  *httptest.Server
	refuse  map[string]func(http.ResponseWriter) // by path
	mu      sync.Mutex
	asked   []string
	lasting time.Duration
}

func startGoogle(t *testing.T) *google {
	t.Helper()
	g := &google{t: t, refuse: map[string]func(http.ResponseWriter){}, lasting: time.Hour}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", g.token)
	mux.HandleFunc("POST /v1/token", g.exchange)
	mux.HandleFunc("POST /v1/projects/-/serviceAccounts/{account}", g.impersonate)
	mux.HandleFunc("POST /tokeninfo", g.tokenInfo)
	mux.HandleFunc("GET /computeMetadata/v1/instance/service-accounts/default/token", g.metadataToken)
	mux.HandleFunc("GET /computeMetadata/v1/instance/service-accounts/default/email", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata-Flavor") != "Google" {
			t.Error("the metadata server is asked without its header")
		}
		fmt.Fprint(w, robot)
	})
	g.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.asked = append(g.asked, r.Method+" "+r.URL.String())
		g.mu.Unlock()
		if refuse := g.refuse[r.URL.Path]; refuse != nil {
			refuse(w)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(g.server.Close)
	return g
}

// client sends whatever is meant for Google to the stand-in.
func (g *google) client() *http.Client {
	return &http.Client{Transport: rewriting{g.server.Listener.Addr().String()}}
}

type rewriting struct{ to string }

func (r rewriting) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host = "http", r.to
	return http.DefaultTransport.RoundTrip(req)
}

func (g *google) form(r *http.Request) url.Values {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		g.t.Error(err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		g.t.Error(err)
	}
	return form
}

func (g *google) write(w http.ResponseWriter, doc map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(doc); err != nil {
		g.t.Error(err)
	}
}

// token takes the assertion of a service account, whose signature it checks, or a user's refresh token.
func (g *google) token(w http.ResponseWriter, r *http.Request) {
	form := g.form(r)
	switch form.Get("grant_type") {
	case "urn:ietf:params:oauth:grant-type:jwt-bearer":
		parts := strings.Split(form.Get("assertion"), ".")
		if len(parts) != 3 {
			g.t.Errorf("the assertion has %d parts", len(parts))
			return
		}
		signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
		sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		if err := rsa.VerifyPKCS1v15(&signer().PublicKey, crypto.SHA256, sum[:], signature); err != nil {
			g.t.Errorf("signature of the assertion: %v", err)
		}
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		var claims struct{ Iss, Scope string }
		if err := json.Unmarshal(payload, &claims); err != nil || claims.Iss != robot || claims.Scope != googleauth.CloudPlatform {
			g.t.Errorf("claims %s, %v", payload, err)
		}
	case "refresh_token":
		if form.Get("refresh_token") != secretRefresh || form.Get("client_secret") != secretClient {
			g.t.Errorf("form %v", form)
		}
	default:
		g.t.Errorf("grant type %q", form.Get("grant_type"))
	}
	g.write(w, map[string]any{"access_token": secretToken, "expires_in": int(g.lasting.Seconds()), "token_type": "Bearer"})
}

// exchange takes the signed request to AWS that proves who a Lambda function is.
func (g *google) exchange(w http.ResponseWriter, r *http.Request) {
	form := g.form(r)
	subject, err := url.QueryUnescape(form.Get("subject_token"))
	if err != nil {
		g.t.Error(err)
	}
	var request struct {
		URL     string
		Headers []struct{ Key, Value string }
	}
	if err := json.Unmarshal([]byte(subject), &request); err != nil {
		g.t.Errorf("subject token: %v", err)
	}
	headers := map[string]string{}
	for _, h := range request.Headers {
		headers[strings.ToLower(h.Key)] = h.Value
	}
	if form.Get("audience") != pool || !strings.HasPrefix(request.URL, "https://sts.eu-west-1.amazonaws.com?Action=GetCallerIdentity") ||
		headers["x-goog-cloud-target-resource"] != pool || headers["x-amz-security-token"] != "s3cret-session" || !strings.HasPrefix(headers["authorization"], "AWS4-HMAC-SHA256 Credential=AKIA") {
		g.t.Errorf("exchange of %+v for %s", request, form.Get("audience"))
	}
	g.write(w, map[string]any{"access_token": "federated-s3cret", "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 3600})
}

func (g *google) impersonate(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("account") != robot+":generateAccessToken" || r.Header.Get("Authorization") != "Bearer federated-s3cret" {
		g.t.Errorf("impersonation of %s by %q", r.PathValue("account"), r.Header.Get("Authorization"))
	}
	g.write(w, map[string]any{"accessToken": secretToken, "expireTime": time.Now().Add(g.lasting).UTC().Format(time.RFC3339)})
}

// tokenInfo is asked with the token in the body.
func (g *google) tokenInfo(w http.ResponseWriter, r *http.Request) {
	if form := g.form(r); form.Get("access_token") != secretToken || r.URL.RawQuery != "" {
		g.t.Errorf("tokeninfo is asked for %v, %q", form, r.URL.RawQuery)
	}
	g.write(w, map[string]any{
		"azp": "123-abc.apps.googleusercontent.com", "scope": googleauth.CloudPlatform + " openid", "exp": strconv.FormatInt(time.Now().Add(g.lasting).Unix(), 10),
	})
}

func (g *google) metadataToken(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Query().Get("scopes") != googleauth.CloudPlatform {
		g.t.Errorf("the metadata server is asked for %s", r.URL)
	}
	g.write(w, map[string]any{"access_token": secretToken, "expires_in": int(g.lasting.Seconds()), "token_type": "Bearer"})
}

func document(t testing.TB, fields map[string]any) env.Secret {
	t.Helper()
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return env.Secret(text)
}

func serviceAccount(t testing.TB) env.Secret {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(signer())
	if err != nil {
		t.Fatal(err)
	}
	return document(t, map[string]any{
		"type": "service_account", "client_email": robot, "private_key_id": "k1", "token_uri": "https://oauth2.googleapis.com/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
}

func user(t testing.TB) env.Secret {
	return document(t, map[string]any{"type": "authorized_user", "client_id": "123-abc.apps.googleusercontent.com", "client_secret": secretClient, "refresh_token": secretRefresh})
}

// federation is what gcloud writes for AWS, without the addresses that Lambda does not have.
func federation(t testing.TB, impersonating bool) env.Secret {
	fields := map[string]any{
		"type": "external_account", "audience": pool, "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request", "token_url": "https://sts.googleapis.com/v1/token",
		"credential_source": map[string]any{
			"environment_id":                 "aws1",
			"regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
		},
	}
	if impersonating {
		fields["service_account_impersonation_url"] = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + robot + ":generateAccessToken"
	}
	return document(t, fields)
}

// lambda is the environment that the AWS signature is made from.
func lambda(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cret-aws", "AWS_SESSION_TOKEN": "s3cret-session",
	} {
		t.Setenv(name, value)
	}
}

func TestDescribeTellsWhoWeAre(t *testing.T) {
	lambda(t)
	scopes := []string{googleauth.CloudPlatform, "openid"}
	for name, tt := range map[string]struct {
		json env.Secret
		want googleauth.Info
	}{
		"the key of a service account":                          {serviceAccount(t), googleauth.Info{Kind: "service_account", Identity: robot, Scopes: scopes}},
		"the login of a user":                                   {user(t), googleauth.Info{Kind: "authorized_user", Identity: "123-abc.apps.googleusercontent.com", Scopes: scopes}},
		"a function on AWS, for a service account":              {federation(t, true), googleauth.Info{Kind: "external_account", Identity: robot, Scopes: scopes}},
		"a function on AWS, for itself, whom tokeninfo ignores": {federation(t, false), googleauth.Info{Kind: "external_account", Identity: pool}},
		"the metadata server":                                   {"", googleauth.Info{Kind: "metadata", Identity: robot, Scopes: scopes}},
	} {
		t.Run(name, func(t *testing.T) {
			g := startGoogle(t)
			c, err := googleauth.Detect(googleauth.Options{JSON: tt.json, HTTP: g.client(), Getenv: func(name string) string {
				return map[string]string{"GCE_METADATA_HOST": g.server.Listener.Addr().String()}[name]
			}})
			if err != nil {
				t.Fatal(err)
			}
			if len(g.asked) > 0 {
				t.Errorf("Detect asked for %v", g.asked)
			}
			got, err := c.Describe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(got.ExpiresAt); left < 50*time.Minute || left > time.Hour {
				t.Errorf("the token expires in %s, want an hour", left)
			}
			got.ExpiresAt = time.Time{}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("info (-want +got):\n%s", diff)
			}
			if strings.Contains(strings.Join(g.asked, " "), "s3cret") {
				t.Errorf("a URL holds a secret: %v", g.asked)
			}
			// SDKs get a token of their own, and keep it.
			before := len(g.asked)
			for range 2 {
				token, err := c.Google().Token(t.Context())
				if err != nil || !strings.Contains(token.Value, "s3cret") {
					t.Errorf("token %v, %v", token, err)
				}
			}
			if more := len(g.asked) - before; more < 1 || more > 2 {
				t.Errorf("%d requests for two tokens", more)
			}
			// Describe asks anew all the same.
			before = len(g.asked)
			if _, err := c.Describe(t.Context()); err != nil || len(g.asked) == before {
				t.Errorf("described without asking, %v", err)
			}
		})
	}
}

// answers is a response of Google's that is none of what was asked for.
func answers(status int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func TestDescribeTellsWhatIsWrong(t *testing.T) {
	lambda(t)
	const leaked = "s3cret"
	for name, tt := range map[string]struct {
		json   env.Secret
		path   string
		answer func(http.ResponseWriter)
		kind   googleauth.Kind
		text   string
	}{
		"the key was deleted": {serviceAccount(t), "/token", answers(400, `{"error":"invalid_grant","error_description":"Invalid JWT Signature `+leaked+`"}`),
			googleauth.Refused, "credentials for Google are refused: Google gives no token for them, with status 400, invalid_grant"},
		"the account is disabled": {serviceAccount(t), "/token", answers(401, `{"error":"unauthorized_client"}`), googleauth.Refused, "unauthorized_client"},
		"a code that is a text":   {serviceAccount(t), "/token", answers(400, `{"error":"my `+leaked+`"}`), googleauth.Refused, "with status 400"},
		"a refusal that is none":  {serviceAccount(t), "/token", answers(403, leaked), googleauth.Refused, "with status 403"},
		"the login has expired": {user(t), "/token", answers(400, `{"error":"invalid_grant","error_description":"Token has been expired or revoked."}`),
			googleauth.Expired, "are expired: Google gives no token"},
		"the login must be renewed": {user(t), "/token", answers(400, `{"error":"invalid_grant","error_description":"reauth related error","error_subtype":"invalid_rapt"}`), googleauth.Expired, "invalid_grant"},
		"the token service fails":   {user(t), "/token", answers(503, leaked), googleauth.Unavailable, "with status 503"},
		"the token service is busy": {user(t), "/token", answers(429, leaked), googleauth.Unavailable, "with status 429"},
		"a redirect":                {serviceAccount(t), "/token", func(w http.ResponseWriter) { w.Header().Set("Location", "/elsewhere"); w.WriteHeader(302) }, googleauth.Unavailable, "with status 302"},
		"the token is garbage":      {serviceAccount(t), "/token", answers(200, "<"+leaked), googleauth.Unavailable, "holds no token"},
		"the token is empty":        {serviceAccount(t), "/token", answers(200, `{}`), googleauth.Unavailable, "holds no token"},
		"the pool refuses the function": {federation(t, true), "/v1/token", answers(400, `{"error":"unauthorized_client","error_description":"The given credential is rejected by the attribute condition."}`),
			googleauth.Refused, "unauthorized_client"},
		"the session of AWS has expired": {federation(t, true), "/v1/token", answers(400, `{"error":"invalid_grant","error_description":"Received invalid AWS response of type ExpiredToken"}`), googleauth.Expired, "invalid_grant"},
		"impersonation is not allowed": {federation(t, true), "/v1/projects/-/serviceAccounts/" + robot + ":generateAccessToken",
			answers(403, `{"error":{"code":403,"message":"Permission 'iam.serviceAccounts.getAccessToken' denied `+leaked+`","status":"PERMISSION_DENIED"}}`), googleauth.Refused, "with status 403, PERMISSION_DENIED"},
		"the exchange is garbage":         {federation(t, false), "/v1/token", answers(200, `[]`), googleauth.Unavailable, "holds no token"},
		"the token is not accepted":       {serviceAccount(t), "/tokeninfo", answers(400, `{"error":"invalid_token","error_description":"Invalid Value"}`), googleauth.Refused, "does not accept the token, with status 400, invalid_token"},
		"no service account here":         {"", "/computeMetadata/v1/instance/service-accounts/default/email", answers(404, leaked), googleauth.Missing, "no service account"},
		"the metadata server refuses":     {"", "/computeMetadata/v1/instance/service-accounts/default/token", answers(403, leaked), googleauth.Refused, "with status 403"},
		"the metadata server fails":       {"", "/computeMetadata/v1/instance/service-accounts/default/token", answers(500, leaked), googleauth.Unavailable, "with status 500"},
		"the metadata server has no idea": {"", "/computeMetadata/v1/instance/service-accounts/default/token", answers(200, leaked), googleauth.Unavailable, "sent no token"},
	} {
		t.Run(name, func(t *testing.T) {
			g := startGoogle(t)
			g.refuse[tt.path] = tt.answer
			c, err := googleauth.Detect(googleauth.Options{JSON: tt.json, HTTP: g.client(), Getenv: func(name string) string {
				return map[string]string{"GCE_METADATA_HOST": g.server.Listener.Addr().String()}[name]
			}})
			if err != nil {
				t.Fatal(err)
			}
			info, err := c.Describe(t.Context())
			check(t, err, tt.kind, tt.text)
			if info.Kind == "" {
				t.Errorf("info %+v, want what could be told", info)
			}
			// A call of a model sees the same, where it is the token that is not given out.
			token, err := c.Google().Token(t.Context())
			if strings.HasSuffix(tt.path, "/tokeninfo") || strings.HasSuffix(tt.path, "/email") {
				if err != nil || token.Value == "" {
					t.Errorf("token %v, %v", token, err)
				}
				return
			}
			check(t, err, tt.kind, tt.text)
			if passing, ok := err.(interface{ Temporary() bool }); !ok || passing.Temporary() != (tt.kind == googleauth.Unavailable) {
				t.Errorf("temporary: %v, want it for what is unavailable only", err)
			}
			delete(g.refuse, tt.path)
			if token, err := c.Google().Token(t.Context()); err != nil || token.Value == "" {
				t.Errorf("the same credentials when all is well: %v, %v", token, err)
			}
		})
	}
}

func check(t *testing.T, err error, kind googleauth.Kind, text string) {
	t.Helper()
	e, ok := errors.AsType[*googleauth.Error](err)
	if !ok || e.Kind != kind || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want kind %s with %q", err, kind, text)
	}
	if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(fmt.Sprintf("%+v", err), "s3cret") || strings.Contains(err.Error(), "PRIVATE")) {
		t.Errorf("the error shows a secret: %v", err)
	}
}

// TestTokenInfoThatCannotBeAskedTakesNothingBack has credentials that work, of which less is known.
func TestTokenInfoThatCannotBeAskedTakesNothingBack(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){"it fails": answers(500, ""), "garbage": answers(200, "<html>"), "nothing": answers(200, "{}")} {
		g := startGoogle(t)
		g.refuse["/tokeninfo"] = answer
		c, err := googleauth.Detect(googleauth.Options{JSON: serviceAccount(t), HTTP: g.client()})
		if err != nil {
			t.Fatal(err)
		}
		if info, err := c.Describe(t.Context()); err != nil || info.Identity != robot || time.Until(info.ExpiresAt) < 50*time.Minute || len(info.Scopes) > 0 {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
}

func TestATokenThatIsOverIsExpired(t *testing.T) {
	g := startGoogle(t)
	g.refuse["/tokeninfo"] = answers(200, `{"exp":"1000000000"}`)
	c, err := googleauth.Detect(googleauth.Options{JSON: serviceAccount(t), HTTP: g.client()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Describe(t.Context())
	check(t, err, googleauth.Expired, "expired already")
}

// hanging is a network in which nothing arrives.
type hanging struct{}

func (hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// refused is a network in which nobody listens.
type refused struct{}

func (refused) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("connect: connection refused")
}

func TestAnUnreachableGoogleIsNoVerdict(t *testing.T) {
	lambda(t)
	none := func(string) string { return "" }
	for name, tt := range map[string]struct {
		json      env.Secret
		transport http.RoundTripper
		within    time.Duration
		kind      googleauth.Kind
		text      string
	}{
		"a key, and nobody listens":      {serviceAccount(t), refused{}, 0, googleauth.Unavailable, "connection refused"},
		"a key, and nothing arrives":     {serviceAccount(t), hanging{}, 5 * time.Second, googleauth.Unavailable, "no token came in time"},
		"AWS, and nothing arrives":       {federation(t, true), hanging{}, 5 * time.Second, googleauth.Unavailable, "deadline exceeded"},
		"a login, and nothing arrives":   {user(t), hanging{}, 5 * time.Second, googleauth.Unavailable, "deadline exceeded"},
		"no server, and nobody listens":  {"", refused{}, 0, googleauth.Missing, "no metadata server"},
		"no server, and nothing arrives": {"", hanging{}, 2 * time.Second, googleauth.Missing, "no metadata server"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, err := googleauth.Detect(googleauth.Options{JSON: tt.json, HTTP: &http.Client{Transport: tt.transport}, Getenv: none})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				begun := time.Now()
				_, err = c.Describe(ctx)
				if took := time.Since(begun); took != tt.within {
					t.Errorf("took %s, want %s", took, tt.within)
				}
				check(t, err, tt.kind, tt.text)
			})
		})
	}
}

func TestDetectFindsTheDefaultsAndRefusesWhatCannotWork(t *testing.T) {
	home := t.TempDir()
	folder := filepath.Join(home, ".config", "gcloud")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "application_default_credentials.json"), []byte(user(t).Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	named := filepath.Join(home, "named.json")
	if err := os.WriteFile(named, []byte(serviceAccount(t).Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		json env.Secret
		vars map[string]string
		kind string // of the credentials
		text string // of the error
	}{
		"the JSON before all":            {federation(t, true), map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": named, "HOME": home}, "external_account", ""},
		"the file that a variable names": {"", map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": named, "HOME": home}, "service_account", ""},
		"gcloud's file":                  {"", map[string]string{"HOME": home}, "authorized_user", ""},
		"a home without gcloud":          {"", map[string]string{"HOME": folder}, "metadata", ""},
		"nothing":                        {"", nil, "metadata", ""},
		"a file that is not there":       {"", map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": filepath.Join(home, "gone.json")}, "", "gone.json"},
		"no JSON":                        {"s3cret", nil, "", "not the JSON"},
		"JSON of something else":         {`{"s3cret":1}`, nil, "", "no type that a function can use"},
		"a list":                         {`["s3cret"]`, nil, "", "not the JSON"},
		"a type that opens a browser":    {`{"installed":{"client_id":"a","redirect_uris":["http://localhost"]}}`, nil, "", "no type"},
		"a type of another cloud":        {`{"type":"gdch_service_account"}`, nil, "", "no type"},
		"a key without a key":            {document(t, map[string]any{"type": "service_account", "client_email": robot}), nil, "", "lack something"},
		"a federation without a source":  {document(t, map[string]any{"type": "external_account", "audience": pool, "subject_token_type": "x"}), nil, "", "lack something"},
		"a token service in the clear":   {document(t, map[string]any{"type": "service_account", "client_email": robot, "private_key": "s3cret", "token_uri": "http://evil.example/token"}), nil, "", "not HTTPS"},
		"an impersonation in the clear":  {document(t, map[string]any{"type": "external_account", "service_account_impersonation_url": "http://s3cret.example"}), nil, "", "not HTTPS"},
		"an address that is none":        {document(t, map[string]any{"type": "service_account", "token_uri": "s3cret"}), nil, "", "not HTTPS"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := googleauth.Detect(googleauth.Options{JSON: tt.json, HTTP: &http.Client{Transport: refused{}}, Getenv: func(name string) string { return tt.vars[name] }})
			e := env.New(func(name string) string {
				if name == "LRCP_GOOGLE_CREDENTIALS" {
					return tt.json.Reveal()
				}
				return tt.vars[name]
			})
			fromEnv := googleauth.FromEnv(e)
			if tt.text != "" {
				check(t, err, googleauth.Malformed, tt.text)
				bad := e.Err()
				if bad == nil || !strings.Contains(bad.Error(), "_CREDENTIALS can't be used: ") || strings.Contains(bad.Error(), "s3cret") || fromEnv != nil {
					t.Errorf("from the environment: %v", bad)
				}
				if strings.HasPrefix(name, "a file") && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("got %v, want it to be fs.ErrNotExist", err)
				}
				return
			}
			if err != nil || e.Err() != nil || fromEnv == nil {
				t.Fatal(err, e.Err())
			}
			if info, err := c.Describe(t.Context()); info.Kind != tt.kind || err == nil {
				t.Errorf("kind %s, %v; want %s, and nobody to reach", info.Kind, err, tt.kind)
			}
		})
	}
}

func TestAKeyThatIsNoneIsMalformed(t *testing.T) {
	c, err := googleauth.Detect(googleauth.Options{
		JSON: document(t, map[string]any{"type": "service_account", "client_email": robot, "private_key": "-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----"}),
		HTTP: &http.Client{Transport: refused{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Describe(t.Context())
	check(t, err, googleauth.Malformed, "could not even be asked for")

	c, err = googleauth.Detect(googleauth.Options{
		JSON: document(t, map[string]any{
			"type": "external_account", "audience": pool, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": "https://sts.googleapis.com/v1/token",
			"credential_source": map[string]any{"file": filepath.Join(t.TempDir(), "gone")},
		}), HTTP: &http.Client{Transport: refused{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Describe(t.Context())
	check(t, err, googleauth.Malformed, "asked for")
}

// FuzzDetect checks that a text is either refused without a word of it, or gives credentials.
func FuzzDetect(f *testing.F) {
	f.Add(`{"type":"service_account","client_email":"a@b","private_key":"x"}`)
	f.Add(`{"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"c"}`)
	f.Add(`{"type":"impersonated_service_account","service_account_impersonation_url":"https://a/serviceAccounts/b:generateAccessToken","source_credentials":{"type":"authorized_user"}}`)
	f.Add(`{"type":"external_account_authorized_user","audience":"a"}`)
	f.Add(`{"type":"external_account","credential_source":{"executable":{"command":"true"}}}`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" {
			return
		}
		c, err := googleauth.Detect(googleauth.Options{JSON: env.Secret(text), HTTP: &http.Client{Transport: refused{}}, Getenv: func(string) string { return "" }})
		if err != nil {
			if e, ok := errors.AsType[*googleauth.Error](err); !ok || e.Err != nil {
				t.Errorf("error %v of %q", err, text)
			}
			return
		}
		if c.Google() == nil {
			t.Errorf("no credentials of %q", text)
		}
	})
}
