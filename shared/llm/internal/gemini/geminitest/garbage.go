package geminitest

import (
	"errors"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/vertextest"
)

// Garbage tests an adapter over REST with responses that are none. stream writes a stream of messages in the form that the
// adapter asks for, with the content type that goes with it.
func Garbage(t *testing.T, a Adapter, contentType string, stream func(messages ...string) string) {
	const said = `{"candidates":[{"content":{"parts":[{"text":"The"}]}}]}`
	for name, tt := range map[string]struct {
		raw  vertextest.Raw
		want map[string]llm.Kind
	}{
		"a page of HTML":               {vertextest.Raw{ContentType: "text/html", Body: "<html>Welcome</html>"}, faults()},
		"a page that says it is JSON":  {vertextest.Raw{ContentType: "application/json", Body: "<html>Welcome</html>"}, faults()},
		"nothing":                      {vertextest.Raw{ContentType: "text/plain"}, faults()},
		"null":                         {vertextest.Raw{ContentType: "application/json", Body: "null"}, faults()},
		"a number":                     {vertextest.Raw{ContentType: "application/json", Body: "7"}, faults()},
		"candidates that are a text":   {vertextest.Raw{ContentType: contentType, Body: stream(`{"candidates":"x"}`)}, faults()},
		"parts that are a number":      {vertextest.Raw{ContentType: contentType, Body: stream(`{"candidates":[{"content":{"parts":7}}]}`)}, faults()},
		"a text that is a number":      {vertextest.Raw{ContentType: contentType, Body: stream(`{"candidates":[{"content":{"parts":[{"text":7}]}}]}`)}, faults()},
		"a usage that is a text":       {vertextest.Raw{ContentType: contentType, Body: stream(`{"usageMetadata":{"promptTokenCount":"many"}}`)}, faults()},
		"messages that are no objects": {vertextest.Raw{ContentType: contentType, Body: stream(`[1,2]`)}, faults()},
		"half a message":               {vertextest.Raw{ContentType: contentType, Body: strings.TrimRight(stream(said), "\n]")[:30]}, map[string]llm.Kind{"generate": llm.ProviderFault}},
		"a redirect":                   {vertextest.Raw{Status: 307, Location: "/v1beta1/projects/p/locations/l/publishers/google/models/m:generateContent"}, faults()},
		"garbage in mid-stream":        {vertextest.Raw{ContentType: contentType, Body: stream(said, "\x00\xff{")}, faults()},
		"a status for nothing":         {vertextest.Raw{Status: 204}, faults()},
	} {
		t.Run(name, func(t *testing.T) {
			m, s := scripted(t, a, vertextest.Reply{Raw: &tt.raw})
			for method, err := range both(t.Context(), m, request()) {
				var e *llm.Error
				want, listed := tt.want[method]
				if !errors.As(err, &e) || listed && e.Kind != want || !listed && !e.Retryable() {
					t.Errorf("%s: got %v, want %s", method, err, want)
				}
			}
			if n := len(s.Requests()); n != 2 {
				t.Errorf("%d requests for two calls: something retries, or follows", n)
			}
		})
	}
}

func faults() map[string]llm.Kind {
	return map[string]llm.Kind{"generate": llm.ProviderFault, "stream": llm.ProviderFault}
}
