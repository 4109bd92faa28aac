package web_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/pipeline/web"
)

type object = map[string]any

func TestURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]object{
		"https://user:pass@api.example.com:8443/v1/qa//?a=1&a=2&b=%20x&=y#top": {
			"scheme": "https", "host": "api.example.com", "port": 8443.0, "path": "/v1/qa", "hash": "top", "queryString": object{"a": []any{"1", "2"}, "b": " x"},
		},
		"/":                  {"path": "/"},
		"/a%2Fb/?x=100%":     {"path": "/a/b", "queryString": object{"x": "100%"}},
		"http://[::1]:80":    {"scheme": "http", "host": "::1", "port": 80.0},
		"":                   {},
		"http://a/b?q=1&q&q": {"scheme": "http", "host": "a", "path": "/b", "queryString": object{"q": []any{"1", "", ""}}},
	} {
		got, err := web.URL(text, true)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{"http://a b/", "http://a:port/", "/%zz", strings.Repeat("a", 10000)} {
		if got, err := web.URL(text, false); err == nil {
			t.Errorf("%.40q is %v", text, got)
		}
	}
	if got, err := web.URL("/a/", false); err != nil || got["path"] != "/a/" {
		t.Errorf("a slash at the end that is to stay: %v, %v", got, err)
	}
}

func TestUserAgent(t *testing.T) {
	t.Parallel()
	got, err := web.UserAgent("Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Mobile/15E148 Safari/604.1")
	if err != nil {
		t.Fatal(err)
	}
	want := object{
		"browser": object{"family": "Mobile Safari", "major": "17", "minor": "1"},
		"os":      object{"family": "iOS", "major": "17", "minor": "1"},
		"device":  object{"family": "iPhone", "brand": "Apple", "model": "iPhone"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := web.UserAgent(strings.Repeat("a", 10000)); err == nil {
		t.Error("a user agent of 10 kB is read")
	}
}

func FuzzURL(f *testing.F) {
	f.Add("https://user:pass@api.example.com:8443/v1/qa//?a=1&a=2&b=%20x#top")
	f.Add("//?%=&")
	f.Fuzz(func(t *testing.T, text string) {
		first, err := web.URL(text, true)
		again, errAgain := web.URL(text, true)
		if (err == nil) != (errAgain == nil) || !cmp.Equal(first, again) {
			t.Fatalf("%q is %v, and then %v", text, first, again)
		}
		if path, _ := first["path"].(string); len(path) > 1 && strings.HasSuffix(path, "/") {
			t.Fatalf("%q keeps the slash at the end of %q", text, path)
		}
	})
}
