package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/llm-reliability/control-plane/scripts/bench/wire"
)

// expected is what an answer must hold.
type expected struct {
	text  string
	cheap [][]byte
}

func expect(text string) expected {
	return expected{text, [][]byte{[]byte(text), []byte("\"total_tokens\":" + fmt.Sprint(wire.TotalTokens))}}
}

// glance checks an answer as cheaply as the load generator needs it at full speed.
func (e expected) glance(r response) error {
	if r.Status != 200 {
		return fmt.Errorf("status %d: %.200s", r.Status, r.Body)
	}
	for _, part := range e.cheap {
		if !bytes.Contains(r.Body, part) {
			return fmt.Errorf("the answer lacks %.60q: %.200s", part, r.Body)
		}
	}
	return nil
}

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

func (u usage) check() error {
	if want := (usage{wire.PromptTokens, wire.CompletionTokens, wire.TotalTokens}); u != want {
		return fmt.Errorf("usage is %+v, want %+v", u, want)
	}
	return nil
}

// read checks all of a whole answer.
func (e expected) read(r response) error {
	if r.Status != 200 {
		return fmt.Errorf("status %d: %.200s", r.Status, r.Body)
	}
	var doc struct {
		Choices []struct {
			Message struct{ Role, Content string } `json:"message"`
			Finish  string                         `json:"finish_reason"`
		} `json:"choices"`
		Usage usage `json:"usage"`
	}
	if err := json.Unmarshal(r.Body, &doc); err != nil {
		return fmt.Errorf("the answer is no JSON: %w", err)
	}
	if len(doc.Choices) != 1 || doc.Choices[0].Message.Role != "assistant" || doc.Choices[0].Finish != "stop" {
		return fmt.Errorf("the answer has not one choice of the assistant that ended: %.200s", r.Body)
	}
	if doc.Choices[0].Message.Content != e.text {
		return fmt.Errorf("the text is not the mock's: %.100q", doc.Choices[0].Message.Content)
	}
	return doc.Usage.check()
}

// readStream checks all of a stream: as many frames with text as the mock sent, the finish reason, the usage, the end.
func readStream(r response) error {
	if r.Status != 200 {
		return fmt.Errorf("status %d: %.200s", r.Status, r.Body)
	}
	var text strings.Builder
	var spent usage
	frames, finish, done := 0, "", false
	for line := range strings.SplitSeq(string(r.Body), "\n") {
		data, ok := strings.CutPrefix(strings.TrimSpace(line), "data:")
		if !ok {
			continue
		}
		if data = strings.TrimSpace(data); data == "[DONE]" {
			done = true
			continue
		}
		var doc struct {
			Error   json.RawMessage `json:"error"`
			Choices []struct {
				Delta  struct{ Content string } `json:"delta"`
				Finish string                   `json:"finish_reason"`
			} `json:"choices"`
			Usage *usage `json:"usage"`
		}
		if err := json.Unmarshal([]byte(data), &doc); err != nil {
			return fmt.Errorf("frame %q is no JSON: %w", data, err)
		}
		if len(doc.Error) > 0 && string(doc.Error) != "null" {
			return fmt.Errorf("the stream holds the error %s", doc.Error)
		}
		if doc.Usage != nil {
			spent = *doc.Usage
		}
		for _, c := range doc.Choices {
			if c.Delta.Content != "" {
				frames++
				text.WriteString(c.Delta.Content)
			}
			if c.Finish != "" {
				finish = c.Finish
			}
		}
	}
	switch {
	case text.String() != wire.StreamText():
		return fmt.Errorf("the stream's text is not the mock's: %.100q", text.String())
	case frames != wire.Frames:
		return fmt.Errorf("the text came in %d frames, want %d", frames, wire.Frames)
	case finish != "stop":
		return fmt.Errorf("the finish reason is %q, want stop", finish)
	case !done:
		return fmt.Errorf("the stream has no [DONE]")
	}
	return spent.check()
}
