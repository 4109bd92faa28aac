package judge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Reason says in a word why an answer got its scores. The set is closed: it becomes a metric tag.
type Reason string

// The reasons.
const (
	Supported     Reason = "supported"
	Contradicted  Reason = "contradicted"
	NotInDocument Reason = "not_in_document"
	OffTopic      Reason = "off_topic"
	Refusal       Reason = "refusal"
	Incomplete    Reason = "incomplete"
)

func (r Reason) known() bool {
	switch r {
	case Supported, Contradicted, NotInDocument, OffTopic, Refusal, Incomplete:
		return true
	}
	return false
}

// reply is what a model answered.
type reply struct {
	groundedness, relevance float64
	reason                  Reason
}

// parse reads a reply strictly: one object with the three fields, scores of 0 to 1, and nothing after it. A fence of code around
// it is taken off, since many models can't leave it out. Errors quote nothing of the text.
func parse(text string) (reply, error) {
	const most = 64 << 10
	if len(text) > most {
		return reply{}, fmt.Errorf("the reply has %d bytes", len(text))
	}
	d := json.NewDecoder(strings.NewReader(unfenced(text)))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return reply{}, errors.New("the reply is not a JSON object")
	}
	fields := map[string]json.RawMessage{}
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return reply{}, errors.New("the reply is not valid JSON")
		}
		if _, twice := fields[name]; twice || name != "groundedness" && name != "relevance" && name != "reason" {
			return reply{}, errors.New("the reply has a field twice, or one that it should not have")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return reply{}, errors.New("the reply is not valid JSON")
		}
		fields[name] = value
	}
	if _, err := d.Token(); err != nil {
		return reply{}, errors.New("the reply is not valid JSON")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return reply{}, errors.New("the reply goes on after its object")
	}
	var r reply
	for name, score := range map[string]*float64{"groundedness": &r.groundedness, "relevance": &r.relevance} {
		value := fields[name]
		if len(value) == 0 || bytes.Equal(value, []byte("null")) || json.Unmarshal(value, score) != nil {
			return reply{}, fmt.Errorf("%s is not a number", name)
		}
		if !(*score >= 0 && *score <= 1) {
			return reply{}, fmt.Errorf("%s is not from 0 to 1", name)
		}
	}
	if json.Unmarshal(fields["reason"], &r.reason) != nil || !r.reason.known() {
		return reply{}, errors.New("reason is not one of those on offer")
	}
	return r, nil
}

// unfenced takes a fence of code off.
func unfenced(text string) string {
	text = strings.TrimSpace(text)
	inner, ok := strings.CutPrefix(text, "```")
	if !ok {
		return text
	}
	inner, ok = strings.CutSuffix(inner, "```")
	if !ok {
		return text
	}
	return strings.TrimPrefix(inner, "json")
}
