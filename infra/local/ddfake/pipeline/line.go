package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
)

const maxLine = 1 << 20

// FromLine reads a line as the intake does before pipelines. A line that is not a JSON object is the message of a log of
// status info. In JSON, these attributes become fields of the log, the first that has a value of the right kind:
//
//	date      @timestamp, timestamp, _timestamp, Timestamp, eventTime, date, published_date, syslog.timestamp;
//	          else the time when it was received
//	host      host, hostname, syslog.hostname
//	service   service, syslog.appname
//	status    status, severity, level, syslog.severity, mapped as by the status remapper; else info
//	message   message
//	trace     dd.trace_id, contextMap.dd.trace_id;    span: dd.span_id, contextMap.dd.span_id
//	source    ddsource;    tags: ddtags, separated by commas, and env and version of dd.env and dd.version
//
// That is the documented default, but for the span and the tags of dd.env and dd.version, which are guesses: at Datadog they
// come from the agent or the extension. Attributes that name the field itself (message, status, service, host, timestamp,
// ddsource, ddtags) are taken out; the others stay attributes, dd.trace_id among them. That, too, is a guess.
func FromLine(line []byte, received time.Time) (Log, error) {
	if len(line) > maxLine {
		return Log{}, fmt.Errorf("read log line: it is longer than %d bytes", maxLine)
	}
	line = bytes.TrimSpace(line)
	var attributes map[string]any
	if len(line) > 0 && line[0] == '{' && json.Unmarshal(line, &attributes) != nil {
		attributes = nil // what only looks like JSON is a text
	}
	if attributes == nil {
		return Log{Timestamp: received, Status: "info", Message: string(line), Attributes: map[string]any{}}, nil
	}
	log := Log{Timestamp: received, Status: "info", Attributes: attributes}
	// first takes the first attribute of the names that is a scalar.
	first := func(names ...string) string {
		for _, name := range names {
			if v, ok := get(attributes, name); ok && isScalar(v) {
				if text := search.Text(v); text != "" {
					return text
				}
			}
		}
		return ""
	}
	for _, name := range []string{"@timestamp", "timestamp", "_timestamp", "Timestamp", "eventTime", "date", "published_date", "syslog.timestamp"} {
		if v, ok := get(attributes, name); ok {
			if t, isDate := date(v, received); isDate {
				log.Timestamp = t
				break
			}
		}
	}
	log.Host = first("host", "hostname", "syslog.hostname")
	log.Service = first("service", "syslog.appname")
	log.Source = first("ddsource")
	log.Message = first("message")
	log.TraceID = first("dd.trace_id", "contextMap.dd.trace_id")
	log.SpanID = first("dd.span_id", "contextMap.dd.span_id")
	for _, name := range []string{"status", "severity", "level", "syslog.severity"} {
		if v, ok := get(attributes, name); ok && isScalar(v) {
			log.Status = status(v)
			break
		}
	}
	for t := range strings.SplitSeq(first("ddtags"), ",") {
		if t = strings.TrimSpace(t); t != "" {
			log.Tags = append(log.Tags, normal(t))
		}
	}
	for key, name := range map[string]string{"env": "dd.env", "version": "dd.version"} {
		if value := first(name); value != "" && !hasTag(log.Tags, key) {
			log.Tags = append(log.Tags, tag(key, value))
		}
	}
	sortTags(log.Tags)
	for _, name := range []string{"message", "status", "service", "host", "timestamp", "ddsource", "ddtags"} {
		if v, ok := attributes[name]; ok && isScalar(v) {
			delete(attributes, name)
		}
	}
	return log, nil
}

// date reads a date in the forms that are recognised: ISO 8601, milliseconds since 1970, and RFC 3164, which has no year.
func date(v any, now time.Time) (time.Time, bool) {
	if n, ok := v.(float64); ok {
		return milliseconds(n)
	}
	text, ok := v.(string)
	if !ok {
		return time.Time{}, false
	}
	text = strings.TrimSpace(text)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && len(text) > 8 {
		return milliseconds(float64(n))
	}
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999",
		"2006-01-02T15:04:05.999999999-0700", "20060102T150405Z0700", "20060102T150405", "2006-01-02",
	} {
		// ISO 8601 has a comma for decimals, too.
		if t, err := time.Parse(layout, strings.Replace(text, ",", ".", 1)); err == nil {
			return t.UTC(), true
		}
	}
	if t, err := time.Parse("Jan _2 15:04:05", text); err == nil {
		return t.AddDate(now.UTC().Year(), 0, 0), true
	}
	return time.Time{}, false
}

func milliseconds(n float64) (time.Time, bool) {
	// Within the years that a date can have.
	if math.IsNaN(n) || n < 0 || n > 253402300799999 {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(n)).UTC(), true
}

// status maps a value to the statuses of logs.
func status(v any) string {
	levels := [...]string{"emergency", "alert", "critical", "error", "warn", "notice", "info", "debug"}
	text := strings.ToLower(strings.TrimSpace(search.Text(v)))
	if n, err := strconv.Atoi(text); err == nil {
		if n >= 0 && n < len(levels) {
			return levels[n]
		}
		return "info"
	}
	for _, start := range []struct{ prefix, status string }{
		{"emerg", "emergency"},
		{"f", "emergency"},
		{"a", "alert"},
		{"c", "critical"},
		{"e", "error"},
		{"w", "warn"},
		{"n", "notice"},
		{"i", "info"},
		{"d", "debug"},
		{"t", "debug"},
		{"v", "debug"},
		{"o", "ok"},
		{"s", "ok"},
	} {
		if strings.HasPrefix(text, start.prefix) {
			return start.status
		}
	}
	return "info"
}
