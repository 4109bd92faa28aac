package intake

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Type is the kind of a DogStatsD message, as it stands on the wire.
type Type string

// The types that are understood. Sets and service checks are refused.
const (
	Count        Type = "c"
	Gauge        Type = "g"
	Histogram    Type = "h"
	Timer        Type = "ms"
	Distribution Type = "d"
	// EventType marks an event, whose line begins with "_e{".
	EventType Type = "_e"
)

// Metric is one metric line.
type Metric struct {
	Name string
	Type Type
	// Values holds one value, or several when the line packs them.
	Values []float64
	// Rate is the sample rate, above 0 and at most 1; 1 when the line has none.
	Rate float64
	Tags []string
	// At is zero unless the line carries a timestamp.
	At time.Time
}

// Event is one event line.
type Event struct {
	Title, Text    string
	Alert          string
	Priority       string
	Host           string
	Source         string
	AggregationKey string
	Tags           []string
	// At is zero unless the line carries a timestamp.
	At time.Time
}

// Message is what one line says: exactly one of its fields is set.
type Message struct {
	Metric *Metric
	Event  *Event
}

// The reasons for which a line is refused. They are the keys of Counts.Malformed, so the set is closed.
var (
	ErrName      = errors.New("name")
	ErrValue     = errors.New("value")
	ErrType      = errors.New("type")
	ErrRate      = errors.New("sample_rate")
	ErrTags      = errors.New("tags")
	ErrTimestamp = errors.New("timestamp")
	ErrSection   = errors.New("section")
	ErrEvent     = errors.New("event")
	ErrEncoding  = errors.New("encoding")
	ErrRefused   = errors.New("not_supported")
)

// maxTags is the number of tags from which on the Lambda extension refuses a metric.
const maxTags = 100

// minRate bounds how many points one sampled line can stand for.
const minRate = 0.001

// ParseLine reads one line of a datagram in the protocol that
// https://docs.datadoghq.com/developers/dogstatsd/datagram_shell describes, versions 1.0 to 1.5. Every error wraps one
// of the reasons above.
func ParseLine(line string) (Message, error) {
	switch {
	case !utf8.ValidString(line):
		return Message{}, fmt.Errorf("%w: not UTF-8", ErrEncoding)
	case strings.HasPrefix(line, "_sc|"):
		return Message{}, fmt.Errorf("%w: service check", ErrRefused)
	case strings.HasPrefix(line, "_e{"):
		e, err := parseEvent(line)
		return Message{Event: e}, err
	}
	m, err := parseMetric(line)
	return Message{Metric: m}, err
}

func parseMetric(line string) (*Metric, error) {
	head, rest, _ := strings.Cut(line, "|")
	name, values, found := strings.Cut(head, ":")
	if !found || !validName(name) {
		return nil, fmt.Errorf("%w: %.50q", ErrName, name)
	}
	m := &Metric{Name: name, Rate: 1}
	kind, rest, more := strings.Cut(rest, "|")
	switch m.Type = Type(kind); m.Type {
	case Count, Gauge, Histogram, Timer, Distribution:
	case "s":
		return nil, fmt.Errorf("%w: set", ErrRefused)
	default:
		return nil, fmt.Errorf("%w: %.20q", ErrType, kind)
	}
	for text := range strings.SplitSeq(values, ":") {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%w: %.50q", ErrValue, text)
		}
		m.Values = append(m.Values, v)
	}
	for more {
		var section string
		section, rest, more = strings.Cut(rest, "|")
		if err := m.section(section); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// section reads one optional part of a metric line.
func (m *Metric) section(s string) (err error) {
	switch {
	case strings.HasPrefix(s, "@"):
		m.Rate, err = strconv.ParseFloat(s[1:], 64)
		if err != nil || !(m.Rate >= minRate && m.Rate <= 1) {
			return fmt.Errorf("%w: %.50q", ErrRate, s)
		}
	case strings.HasPrefix(s, "#"):
		m.Tags, err = parseTags(s[1:])
		return err
	case strings.HasPrefix(s, "T"):
		m.At, err = parseTime(s[1:])
		if err == nil && m.Type != Count && m.Type != Gauge {
			return fmt.Errorf("%w: only counts and gauges may carry one", ErrTimestamp)
		}
		return err
	case origin(s):
	default:
		return fmt.Errorf("%w: %.50q", ErrSection, s)
	}
	return nil
}

// origin recognises the parts that say where a line came from; the stand-in has no use for them.
func origin(s string) bool {
	return strings.HasPrefix(s, "c:") || strings.HasPrefix(s, "e:") || strings.HasPrefix(s, "card:")
}

func parseEvent(line string) (*Event, error) {
	lengths, rest, found := strings.Cut(strings.TrimPrefix(line, "_e{"), "}:")
	first, second, comma := strings.Cut(lengths, ",")
	titleLen, err1 := strconv.ParseUint(first, 10, 16)
	textLen, err2 := strconv.ParseUint(second, 10, 16)
	if !found || !comma || err1 != nil || err2 != nil || titleLen == 0 {
		return nil, fmt.Errorf("%w: header %.50q", ErrEvent, lengths)
	}
	n, end := int(titleLen), int(titleLen)+1+int(textLen)
	if len(rest) < end || rest[n] != '|' || (len(rest) > end && rest[end] != '|') {
		return nil, fmt.Errorf("%w: lengths do not match", ErrEvent)
	}
	unescape := func(s string) string { return strings.ReplaceAll(s, `\n`, "\n") }
	e := &Event{Title: unescape(rest[:n]), Text: unescape(rest[n+1 : end]), Alert: "info", Priority: "normal"}
	// Lengths count bytes, so they can cut a character in two.
	if !utf8.ValidString(e.Title) || !utf8.ValidString(e.Text) {
		return nil, fmt.Errorf("%w: lengths cut a character", ErrEvent)
	}
	more := len(rest) > end
	if more {
		rest = rest[end+1:]
	}
	for more {
		var s string
		s, rest, more = strings.Cut(rest, "|")
		if err := e.section(s); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// section reads one optional part of an event line.
func (e *Event) section(s string) (err error) {
	if strings.HasPrefix(s, "#") {
		e.Tags, err = parseTags(s[1:])
		return err
	}
	key, value, _ := strings.Cut(s, ":")
	switch key {
	case "d":
		e.At, err = parseTime(value)
		return err
	case "h":
		e.Host = value
	case "k":
		e.AggregationKey = value
	case "s":
		e.Source = value
	case "p":
		if value != "normal" && value != "low" {
			return fmt.Errorf("%w: priority %.20q", ErrEvent, value)
		}
		e.Priority = value
	case "t":
		switch value {
		case "info", "success", "warning", "error":
			e.Alert = value
		default:
			return fmt.Errorf("%w: alert type %.20q", ErrEvent, value)
		}
	default:
		if !origin(s) {
			return fmt.Errorf("%w: %.50q", ErrSection, s)
		}
	}
	return nil
}

// validName holds names to Datadog's rule: a letter first, then letters, digits, "_" and ".", 200 characters at most.
func validName(name string) bool {
	if name == "" || len(name) > 200 {
		return false
	}
	for i, r := range name {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || !('0' <= r && r <= '9' || r == '_' || r == '.')) {
			return false
		}
	}
	return true
}

func parseTags(s string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	tags := strings.Split(s, ",")
	if len(tags) > maxTags {
		return nil, fmt.Errorf("%w: %d of them", ErrTags, len(tags))
	}
	for _, tag := range tags {
		if tag == "" || len(tag) > 200 || strings.ContainsFunc(tag, func(r rune) bool { return r < ' ' }) {
			return nil, fmt.Errorf("%w: %.50q", ErrTags, tag)
		}
	}
	return tags, nil
}

func parseTime(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 {
		return time.Time{}, fmt.Errorf("%w: %.30q", ErrTimestamp, s)
	}
	return time.Unix(n, 0), nil
}
