package googleid_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/serverless/googleid"
)

const (
	audience = "https://lrcp-probe-123.europe-west1.run.app"
	identity = "lrcp-scheduler@project.iam.gserviceaccount.com"
)

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// googles is the key that Google signs with, others somebody else's.
var googles, others = sync.OnceValue(newKey), sync.OnceValue(newKey)

func encode(t testing.TB, doc any) string {
	t.Helper()
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// claims are those of a good token, with changes; a nil value removes a claim.
func claims(changes map[string]any) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{
		"iss": "https://accounts.google.com", "aud": audience, "azp": "117", "sub": "117", "email": identity, "email_verified": true, "iat": now, "exp": now + 3600,
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func sign(t testing.TB, key *rsa.PrivateKey, kid string, c map[string]any) string {
	t.Helper()
	signed := encode(t, map[string]any{"alg": "RS256", "kid": kid, "typ": "JWT"}) + "." + encode(t, c)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// published is Google's answer with its keys.
func published(t testing.TB) string {
	t.Helper()
	public := googles().PublicKey
	text, err := json.Marshal(map[string]any{"keys": []map[string]any{{
		"kid": "g1", "alg": "RS256", "kty": "RSA", "use": "sig", "n": base64.RawURLEncoding.EncodeToString(public.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(public.E)).Bytes()),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// transport is where Google's keys are fetched.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answers(status int, body string) transport {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: status, Header: http.Header{"Cache-Control": {"public, max-age=3600"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r,
		}, nil
	}
}

func authenticator(t testing.TB, keys transport) *googleid.Authenticator {
	t.Helper()
	a, err := googleid.New(googleid.Options{Audience: audience, Identity: identity, HTTP: &http.Client{Transport: keys}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func with(authorization string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/probe", nil)
	r.Header.Set("Authorization", authorization)
	return r
}

func TestOnlyTheScheduleOfThisFunctionIsLetIn(t *testing.T) {
	now := time.Now().Unix()
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := sign(t, googles(), "g1", claims(nil))
	parts := strings.Split(good, ".")
	body := encode(t, claims(nil))
	unsigned := func(alg string) string {
		return encode(t, map[string]any{"alg": alg, "kid": "g1"}) + "." + body
	}
	// The public key as the secret of a symmetric signature, which a verifier that believes the header takes for good.
	mac := hmac.New(sha256.New, googles().N.Bytes())
	mac.Write([]byte(unsigned("HS256")))
	sum := sha256.Sum256([]byte(unsigned("ES256")))
	ec, err := ecdsa.SignASN1(rand.Reader, ecKey, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	changed := func(name string, value any) string {
		return sign(t, googles(), "g1", claims(map[string]any{name: value}))
	}
	for name, tt := range map[string]struct {
		authorization string
		ok            bool
		// fetched is whether Google's keys had to be fetched for the decision.
		fetched bool
	}{
		"the schedule":                            {"Bearer " + good, true, true},
		"the schedule, in its own spelling":       {"bearer  " + good, true, true},
		"the other name of Google":                {"Bearer " + changed("iss", "accounts.google.com"), true, true},
		"a clock that is a little ahead":          {"Bearer " + changed("iat", now+20), true, true},
		"signed by somebody else":                 {"Bearer " + sign(t, others(), "g1", claims(nil)), false, true},
		"signed with a key that is not published": {"Bearer " + sign(t, others(), "o1", claims(nil)), false, true},
		"claims changed after signing":            {"Bearer " + parts[0] + "." + encode(t, claims(map[string]any{"sub": "118"})) + "." + parts[2], false, true},
		"a signature cut short":                   {"Bearer " + parts[0] + "." + parts[1] + "." + parts[2][:8], false, true},
		"no signature":                            {"Bearer " + parts[0] + "." + parts[1] + ".", false, true},
		"for another function":                    {"Bearer " + changed("aud", "https://lrcp-qa-123.europe-west1.run.app"), false, false},
		"for nobody":                              {"Bearer " + changed("aud", nil), false, false},
		"for several":                             {"Bearer " + changed("aud", []string{audience}), false, false},
		"of another service account":              {"Bearer " + changed("email", "other@project.iam.gserviceaccount.com"), false, false},
		"of nobody":                               {"Bearer " + changed("email", nil), false, false},
		"of an address that is not verified":      {"Bearer " + changed("email_verified", false), false, false},
		"an address verified by a word":           {"Bearer " + changed("email_verified", "true"), false, false},
		"of another issuer":                       {"Bearer " + changed("iss", "https://evil.example"), false, false},
		"expired":                                 {"Bearer " + changed("exp", now-1), false, false},
		"without an end":                          {"Bearer " + changed("exp", nil), false, false},
		"of the future":                           {"Bearer " + changed("iat", now+600), false, false},
		"not signed, and says so":                 {"Bearer " + unsigned("none") + ".", false, false},
		"not signed, in other letters":            {"Bearer " + unsigned("NONE") + "." + parts[2], false, false},
		"signed with the public key":              {"Bearer " + unsigned("HS256") + "." + b64(mac.Sum(nil)), false, false},
		"signed with a curve":                     {"Bearer " + unsigned("ES256") + "." + b64(ec), false, false},
		"a curve with a signature that is short":  {"Bearer " + unsigned("ES256") + "." + b64([]byte("x")), false, false},
		"no header of a token":                    {"Bearer bnVsbA." + parts[1] + "." + parts[2], false, false},
		"no claims":                               {"Bearer " + parts[0] + ".bnVsbA." + parts[2], false, false},
		"a list of claims":                        {"Bearer " + parts[0] + ".W10." + parts[2], false, false},
		"two parts":                               {"Bearer " + parts[0] + "." + parts[1], false, false},
		"four parts":                              {"Bearer " + good + ".x", false, false},
		"garbage":                                 {"Bearer !!!.???.---", false, false},
		"a control secret":                        {"Bearer 0123456789-0123456789-0123456789", false, false},
		"a token without end":                     {"Bearer " + good + strings.Repeat("A", 10<<10), false, false},
		"another scheme":                          {"Basic " + good, false, false},
		"a token by itself":                       {good, false, false},
		"nothing":                                 {"", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			var fetched atomic.Int32
			a := authenticator(t, func(r *http.Request) (*http.Response, error) {
				fetched.Add(1)
				if r.URL.String() != "https://www.googleapis.com/oauth2/v3/certs" {
					t.Errorf("keys from %s", r.URL)
				}
				return answers(http.StatusOK, published(t))(r)
			})
			for range 2 {
				caller, ok := a.Authenticate(with(tt.authorization))
				if ok != tt.ok || ok != (caller == googleid.Caller) {
					t.Errorf("got %q, %v, want %v", caller, ok, tt.ok)
				}
			}
			want := int32(0)
			if tt.fetched {
				want = 1 // the second decision has the keys already
			}
			if fetched.Load() != want {
				t.Errorf("keys fetched %d times, want %d", fetched.Load(), want)
			}
		})
	}
}

func TestWithoutGooglesKeysNobodyIsLetInAndSoon(t *testing.T) {
	for name, tt := range map[string]struct {
		keys   transport
		within time.Duration
	}{
		"nobody listens":         {func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }, 0},
		"nothing arrives":        {func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, 2 * time.Second},
		"a failure":              {answers(503, ""), 0},
		"garbage":                {answers(200, "<html>"), 0},
		"null":                   {answers(200, "null"), 0},
		"no keys":                {answers(200, `{"keys":[]}`), 0},
		"a key that is none":     {answers(200, `{"keys":[{"kid":"g1","n":"","e":""}]}`), 0},
		"a key that is too weak": {answers(200, `{"keys":[{"kid":"g1","n":"Aw","e":"Aw"}]}`), 0},
		"a key of other letters": {answers(200, `{"keys":[{"kid":"g1","n":"!","e":"!"}]}`), 0},
	} {
		t.Run(name, func(t *testing.T) {
			googles() // is not made in the bubble
			synctest.Test(t, func(t *testing.T) {
				a := authenticator(t, tt.keys)
				begun := time.Now()
				if caller, ok := a.Authenticate(with("Bearer " + sign(t, googles(), "g1", claims(nil)))); ok {
					t.Errorf("%q is let in", caller)
				}
				if took := time.Since(begun); took != tt.within {
					t.Errorf("took %s, want %s", took, tt.within)
				}
			})
		})
	}
}

// TestKeysAreFetchedAgainWhenTheirTimeIsOver has Google change its keys.
func TestKeysAreFetchedAgainWhenTheirTimeIsOver(t *testing.T) {
	googles()
	synctest.Test(t, func(t *testing.T) {
		body := `{"keys":[]}`
		a := authenticator(t, func(r *http.Request) (*http.Response, error) { return answers(200, body)(r) })
		enter := func() bool {
			_, ok := a.Authenticate(with("Bearer " + sign(t, googles(), "g1", claims(nil))))
			return ok
		}
		if enter() {
			t.Error("let in without a key")
		}
		body = published(t)
		<-time.After(time.Hour + time.Second)
		if !enter() {
			t.Error("not let in with the new key")
		}
	})
}

func TestTheScheduleStandsBesideTheSecret(t *testing.T) {
	secrets, err := serverless.ParseControlSecrets([]env.Secret{"0123456789-0123456789-0123456789"})
	if err != nil {
		t.Fatal(err)
	}
	auth := serverless.AnyOf(secrets, authenticator(t, answers(200, published(t))))
	h := serverless.Wrap(serverless.Function{Auth: auth, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, serverless.Caller(r.Context()))
	})}, serverless.Options{Name: "probe"})
	for authorization, want := range map[string]string{
		"Bearer 0123456789-0123456789-0123456789":         "control",
		"Bearer " + sign(t, googles(), "g1", claims(nil)): "schedule",
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, with(authorization))
		if w.Code != http.StatusOK || w.Body.String() != want {
			t.Errorf("got %d %s, want %s", w.Code, w.Body, want)
		}
	}
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, with("Bearer "+sign(t, others(), "g1", claims(nil)))); w.Code != http.StatusUnauthorized {
		t.Errorf("got %d for a token of somebody else's", w.Code)
	}
}

func TestFromEnv(t *testing.T) {
	for name, tt := range map[string]struct {
		audience, identity string
		set                bool
		bad                string
	}{
		"both":                     {audience, identity, true, ""},
		"neither":                  {"", "", false, ""},
		"the audience only":        {audience, "", false, "LRCP_SCHEDULE_IDENTITY is required where"},
		"the identity only":        {"", identity, false, "LRCP_SCHEDULE_AUDIENCE is required where"},
		"an audience that is none": {"probe", identity, true, "LRCP_SCHEDULE_AUDIENCE must be the URL"},
		"an identity that is none": {audience, "scheduler", true, "LRCP_SCHEDULE_IDENTITY must be the e-mail"},
	} {
		e := env.New(func(name string) string {
			return map[string]string{"LRCP_SCHEDULE_AUDIENCE": tt.audience, "LRCP_SCHEDULE_IDENTITY": tt.identity}[name]
		})
		a := googleid.FromEnv(e)
		if err := e.Err(); (a != nil) != tt.set || (err != nil) != (tt.bad != "") || err != nil && !strings.Contains(err.Error(), tt.bad) {
			t.Errorf("%s: got %v, %v", name, a, err)
		}
	}
	for _, opts := range []googleid.Options{{}, {Audience: audience}, {Identity: identity}} {
		if _, err := googleid.New(opts); err == nil {
			t.Errorf("%+v was accepted", opts)
		}
	}
}

// FuzzAuthenticate checks that no text gets in, whatever it looks like, and that none makes the function fail.
func FuzzAuthenticate(f *testing.F) {
	good := sign(f, googles(), "g1", claims(nil))
	parts := strings.Split(good, ".")
	for _, seed := range []string{"Bearer ", "Bearer a.b.c", "Bearer bnVsbA.bnVsbA.", "Bearer " + parts[0] + "." + parts[1] + ".AA", "Bearer e30.e30.e30", "Basic x"} {
		f.Add(seed)
	}
	a := authenticator(f, answers(200, published(f)))
	f.Fuzz(func(t *testing.T, authorization string) {
		if caller, ok := a.Authenticate(with(authorization)); ok || caller != "" {
			t.Errorf("%q let %q in", authorization, caller)
		}
	})
}
