package main

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/scripts/bench/wire"
)

// serve answers each request on a connection with the next of the answers, and returns its address. A request is what ends
// with an empty line.
func serve(t *testing.T, answers ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 1<<16)
		for _, answer := range answers {
			if _, err := c.Read(buf); err != nil {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = l.Close() // It only ends the goroutine.
		<-done
	})
	return l.Addr().String()
}

var request = []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")

func TestClientReadsAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		answer string
		status int
		body   string
		pieces int
		fails  bool
	}{
		"with a length":               {"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", 1, false},
		"in chunks":                   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", 200, "hello", 2, false},
		"with nothing in it":          {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, "", 0, false},
		"an error's status":           {"HTTP/1.1 503 Busy\r\nContent-Length: 1\r\n\r\nx", 503, "x", 1, false},
		"cut in its body":             {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", 200, "", 0, true},
		"cut in its chunks":           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", 200, "", 1, true},
		"no HTTP":                     {"hello\r\n\r\n", 0, "", 0, true},
		"a length that is none":       {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", 200, "", 0, true},
		"neither length nor end":      {"HTTP/1.1 200 OK\r\n\r\nhello", 200, "", 0, true},
		"a chunk's size that is none": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhel\r\n", 200, "", 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(serve(t, tt.answer))
			defer c.close()
			pieces := 0
			resp, err := c.do(request, func([]byte, time.Time) { pieces++ })
			if (err != nil) != tt.fails || resp.Status != tt.status || pieces != tt.pieces {
				t.Errorf("status %d, %d pieces, error %v; want %d, %d, one: %v", resp.Status, pieces, err, tt.status, tt.pieces, tt.fails)
			}
			if !tt.fails && string(resp.Body) != tt.body {
				t.Errorf("body is %q, want %q", resp.Body, tt.body)
			}
		})
	}
}

func TestClientKeepsItsConnection(t *testing.T) {
	// The server takes one connection only.
	c := dial(serve(t, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb"))
	defer c.close()
	for _, want := range []string{"a", "b"} {
		resp, err := c.do(request, nil)
		if err != nil || string(resp.Body) != want {
			t.Fatalf("got %q, %v, want %q", resp.Body, err, want)
		}
	}
}

func TestChecksOfAnswers(t *testing.T) {
	good := wire.Completion(wire.Small)
	stream := bytes.Join(wire.Stream(), nil)
	change := func(in []byte, from, to string) []byte { return bytes.Replace(in, []byte(from), []byte(to), 1) }
	for name, tt := range map[string]struct {
		check func(response) error
		body  []byte
		want  string // part of the error; empty for none
	}{
		"the mock's answer":              {expect(wire.Text(wire.Small)).read, good, ""},
		"another text":                   {expect(wire.Text(wire.Small)).read, change(good, "calm", "wild"), "text"},
		"another usage":                  {expect(wire.Text(wire.Small)).read, change(good, `"total_tokens":91`, `"total_tokens":90`), "usage"},
		"no usage":                       {expect(wire.Text(wire.Small)).read, change(good, `"usage"`, `"other"`), "usage"},
		"no choice":                      {expect(wire.Text(wire.Small)).read, change(good, `"choices"`, `"other"`), "choice"},
		"no JSON":                        {expect(wire.Text(wire.Small)).read, good[1:], "JSON"},
		"a glance at the mock's answer":  {expect(wire.Text(wire.Small)).glance, good, ""},
		"a glance at another text":       {expect(wire.Text(wire.Small)).glance, change(good, "calm", "wild"), "lacks"},
		"a glance at another usage":      {expect(wire.Text(wire.Small)).glance, change(good, `"total_tokens":91`, `"total_tokens":90`), "lacks"},
		"the mock's stream":              {readStream, stream, ""},
		"a stream that lacks a frame":    {readStream, bytes.Join(wire.Stream()[1:], nil), "text"},
		"a stream that was cut":          {readStream, bytes.Join(wire.Stream()[:wire.Frames], nil), "finish reason"},
		"a stream without its end":       {readStream, bytes.Join(wire.Stream()[:wire.Frames+2], nil), "[DONE]"},
		"a stream without usage":         {readStream, change(stream, `"usage"`, `"other"`), "usage"},
		"a stream with an error":         {readStream, append([]byte("data: {\"error\":{\"message\":\"x\"}}\n\n"), stream...), "error"},
		"a stream in one frame of text":  {readStream, oneFrame(), "frames"},
		"a stream with a frame of waste": {readStream, append([]byte("data: {\n\n"), stream...), "JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.check(response{Status: 200, Body: tt.body})
			if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want one with %q", err, tt.want)
			}
			if err := tt.check(response{Status: 500, Body: tt.body}); err == nil || !strings.Contains(err.Error(), "status 500") {
				t.Errorf("with status 500 the error is %v", err)
			}
		})
	}
}

// oneFrame is the mock's stream with all of its text in one frame, as of a gateway that waits for the whole.
func oneFrame() []byte {
	return []byte(`data: {"choices":[{"delta":{"content":"` + wire.StreamText() + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":27,"completion_tokens":64,"total_tokens":91}}` + "\n\ndata: [DONE]\n\n")
}

func TestSizesOfTheMock(t *testing.T) {
	for _, n := range []int{wire.Small, wire.Large} {
		if got := len(wire.Text(n)); got != n {
			t.Errorf("a text of %d bytes has %d", n, got)
		}
	}
	if a, b := wire.Completion(wire.Small), wire.Completion(wire.Small); !bytes.Equal(a, b) {
		t.Error("the mock's answers differ")
	}
}
