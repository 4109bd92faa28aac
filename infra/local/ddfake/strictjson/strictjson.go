// Package strictjson reads the documents that Datadog's API takes, for the evaluators. It is stricter than the API, which keeps
// or drops keys that it does not know: a misspelt key would be an option without an effect.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// Decode reads one JSON document, and refuses keys that into does not have, and text after the document.
func Decode(raw []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("text after the document, or more than one document")
	}
	return nil
}
