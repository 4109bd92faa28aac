package env_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/env"
)

type config struct {
	Model   string
	Mode    string
	Timeout time.Duration
	Tries   int
	Stream  bool
	Tags    []string
	Key     env.Secret
	Keys    []env.Secret
}

func read(vars map[string]string) (config, error) {
	e := env.New(func(name string) string { return vars[name] })
	c := config{
		Model:   e.String("MODEL", "small"),
		Mode:    e.OneOf("MODE", "fast", "fast", "slow"),
		Timeout: e.Duration("TIMEOUT", 30*time.Second),
		Tries:   e.Int("TRIES", 3, 1, 5),
		Stream:  e.Bool("STREAM", true),
		Tags:    e.List("TAGS", "a", "b"),
		Key:     e.RequiredSecret("KEY"),
		Keys:    e.Secrets("KEYS"),
	}
	return c, e.Err()
}

func TestRead(t *testing.T) {
	tests := map[string]struct {
		vars map[string]string
		want config
	}{
		"what is not set has its default": {
			map[string]string{"KEY": "k"},
			config{"small", "fast", 30 * time.Second, 3, true, []string{"a", "b"}, "k", nil},
		},
		"what is set is used, without white space and empty parts": {
			map[string]string{
				"KEY": "k", "MODEL": " large\n", "MODE": "slow", "TIMEOUT": "1m30s", "TRIES": "5", "STREAM": "0",
				"TAGS": "x, y,,", "KEYS": "s1,s2",
			},
			config{"large", "slow", 90 * time.Second, 5, false, []string{"x", "y"}, "k", []env.Secret{"s1", "s2"}},
		},
		"zero is a value": {
			map[string]string{"KEY": "k", "TIMEOUT": "0s"},
			config{"small", "fast", 0, 3, true, []string{"a", "b"}, "k", nil},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := read(tt.vars)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("config (-got +want):\n%s", diff)
			}
		})
	}
}

func TestErrNamesEveryBadVariableAndNoValue(t *testing.T) {
	_, err := read(map[string]string{
		"MODE": "s3cret", "TIMEOUT": "s3cret", "TRIES": "6", "STREAM": "s3cret", "KEYS": "s3cret",
	})
	var bad *env.Error
	if !errors.As(err, &bad) {
		t.Fatalf("error is %T, want *env.Error", err)
	}
	want := []env.Problem{
		{"KEY", "is required"},
		{"MODE", "must be one of fast, slow"},
		{"STREAM", "must be true or false"},
		{"TIMEOUT", `must be a duration of zero or more, such as "30s"`},
		{"TRIES", "must be a whole number from 1 to 5"},
	}
	if diff := cmp.Diff(bad.Problems, want); diff != "" {
		t.Errorf("problems (-got +want):\n%s", diff)
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the error quotes a value: %v", err)
	}
}

func TestRefusedTwiceIsSaidOnce(t *testing.T) {
	e := env.New(func(string) string { return "" })
	e.Required("KEY")
	e.Required("KEY")
	if got, want := e.Err().Error(), "configuration: KEY is required"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSecretShowsItselfToRevealOnly(t *testing.T) {
	const value = "hunter2-hunter2"
	secret := env.Secret(value)
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&shown, verb+"\n", secret)
		fmt.Fprintf(&shown, verb+"\n", struct{ Key env.Secret }{secret})
	}
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&shown, nil), slog.NewTextHandler(&shown, nil)} {
		slog.New(handler).Info("start", slog.Any("key", secret), slog.Any("config", struct{ Key env.Secret }{secret}))
	}
	if err := json.NewEncoder(&shown).Encode(struct{ Key env.Secret }{secret}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(shown.String(), value) || strings.Contains(shown.String(), fmt.Sprintf("%x", value)) {
		t.Errorf("the secret is shown:\n%s", shown.String())
	}
	if got := secret.Reveal(); got != value {
		t.Errorf("Reveal is %q, want %q", got, value)
	}
	if got := env.Secret("").String(); got != "" {
		t.Errorf("an empty secret shows %q, want nothing", got)
	}
}

func TestURLsAreThoseThatSecretsMayBeSentTo(t *testing.T) {
	for address, want := range map[string]string{
		"https://qa.example": "https://qa.example", "https://qa.example/base/": "https://qa.example/base", "http://127.0.0.1:8080": "http://127.0.0.1:8080",
		"http://localhost:1/": "http://localhost:1", "http://[::1]:2": "http://[::1]:2",
		"http://qa.example": "", "": "", "qa": "", "https://u:s3cret@qa.example": "", "https://qa.example?key=s3cret": "", "ftp://qa.example": "",
	} {
		e := env.New(func(string) string { return address })
		got := e.RequiredURL("LRCP_QA_URL")
		if err := e.Err(); got != want || (err == nil) != (want != "") || err != nil && (!strings.Contains(err.Error(), "LRCP_QA_URL") || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%q: %q, %v, want %q", address, got, err, want)
		}
	}
	e := env.New(func(string) string { return "" })
	if got := e.URL("LRCP_QA_URL"); got != "" || e.Err() != nil {
		t.Errorf("not set: %q, %v", got, e.Err())
	}
}
