// Package instant is a time as the control functions' callers write it.
package instant

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
)

// Instant is a time in one of the forms in which Datadog's templates and people write it: RFC 3339, or milliseconds
// since 1970 as a number or a string.
type Instant time.Time

var errInstant = errors.New("must be an RFC 3339 time, or milliseconds since 1970")

// UnmarshalJSON implements json.Unmarshaler.
func (i *Instant) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	text := string(data)
	if strings.HasPrefix(text, `"`) {
		if err := json.Unmarshal(data, &text); err != nil {
			return errInstant
		}
	}
	if text == "" {
		return nil // a template variable without a value; whether that is acceptable is decided with the rest
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		const most = 253402300799999 // the last millisecond of the year 9999
		if ms <= 0 || ms > most {
			return errInstant
		}
		*i = Instant(time.UnixMilli(ms).UTC())
		return nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return errInstant
	}
	*i = Instant(t.UTC())
	return nil
}
