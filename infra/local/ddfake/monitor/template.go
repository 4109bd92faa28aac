package monitor

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// template is a parsed message: text, variables and blocks.
type template []part

// part is one of: text (name empty), a variable, or a block with body.
type part struct {
	text    string
	name    string
	args    []string
	block   bool
	negated bool
	body    template
}

var (
	variables = []string{
		"value", "threshold", "comparator", "warn_threshold", "alert_recovery_threshold", "warn_recovery_threshold",
		"first_triggered_at", "first_triggered_at_epoch", "last_triggered_at", "last_triggered_at_epoch",
		"triggered_duration_sec",
	}
	conditions = []string{
		"is_alert", "is_warning", "is_no_data", "is_recovery", "is_alert_recovery", "is_warning_recovery",
		"is_no_data_recovery", "is_alert_to_warning", "is_renotify",
	}
	quoted = regexp.MustCompile(`^\s*"([^"]*)"`)
)

const maxNesting = 16

// parseTemplate reads a message of a monitor with the condition, which says what variables there are.
func parseTemplate(text string, c condition) (template, error) {
	p := &templateParser{rest: text, of: c}
	t, closing, err := p.parts(0)
	if err != nil {
		return nil, err
	}
	if closing != "" {
		return nil, fmt.Errorf("{{%s}} closes nothing", firstLine(closing))
	}
	return t, nil
}

type templateParser struct {
	rest string
	of   condition
}

// parts reads up to a closing tag, which it returns with its slash, or to the end, where closing is empty.
func (p *templateParser) parts(depth int) (out template, closing string, err error) {
	if depth > maxNesting {
		return nil, "", fmt.Errorf("blocks nested deeper than %d", maxNesting)
	}
	for {
		text, rest, found := strings.Cut(p.rest, "{{")
		if text != "" {
			out = append(out, part{text: text})
		}
		if !found {
			p.rest = ""
			return out, "", nil
		}
		tag, rest, found := strings.Cut(rest, "}}")
		if !found {
			return nil, "", fmt.Errorf("{{%s is not closed", firstLine(tag))
		}
		p.rest = rest
		tag = strings.TrimSpace(tag)
		switch {
		case strings.HasPrefix(tag, "/"):
			return out, tag, nil
		case strings.HasPrefix(tag, "#"), strings.HasPrefix(tag, "^"):
			b, err := p.open(tag)
			if err != nil {
				return nil, "", err
			}
			body, closed, err := p.parts(depth + 1)
			if err != nil {
				return nil, "", err
			}
			if closed == "" {
				return nil, "", fmt.Errorf("{{%s}} is not closed", firstLine(tag))
			}
			if strings.TrimSpace(closed[1:]) != b.name {
				return nil, "", fmt.Errorf("{{%s}} is closed by {{%s}}", firstLine(tag), firstLine(closed))
			}
			b.body = body
			out = append(out, b)
		case p.isVariable(tag):
			out = append(out, part{name: tag})
		default:
			return nil, "", fmt.Errorf("unknown variable {{%s}}", firstLine(tag))
		}
	}
}

func (p *templateParser) isVariable(name string) bool {
	switch c := p.of; {
	case c.composite != nil && slices.Contains(c.composite.variables(), name):
		return true
	case c.composite != nil && slices.Contains([]string{"value", "threshold", "comparator", "warn_threshold", "alert_recovery_threshold", "warn_recovery_threshold"}, name):
		return false
	case c.objective != nil && (name == "timeframe" || c.objective.long > 0 && strings.HasSuffix(name, "_window_burn_rate")):
		return name == "timeframe" || name == "long_window_burn_rate" || name == "short_window_burn_rate"
	case slices.Contains(variables, name):
		return true
	}
	return p.isText(name)
}

// isText reports whether a variable holds a tag of the group or a part of the latest event. Those can be matched.
func (p *templateParser) isText(name string) bool {
	if key := tagKey(name); key != "" && (slices.Contains(p.of.by(), key) || p.of.composite != nil) {
		return true
	}
	return p.of.events != nil && p.of.events.isVariable(name)
}

// tagKey returns the key of {{key.name}} or {{[key].name}}, or "".
func tagKey(variable string) string {
	key, ok := strings.CutSuffix(variable, ".name")
	if !ok {
		return ""
	}
	return unbracket(key)
}

// unbracket takes the brackets off that stand around a key with dots.
func unbracket(key string) string {
	if inner, ok := strings.CutPrefix(key, "["); ok && strings.HasSuffix(inner, "]") {
		return strings.TrimSuffix(inner, "]")
	}
	return key
}

// keys returns the tag keys that a message names.
func (t template) keys() []string {
	var out []string
	for _, p := range t {
		for _, name := range append([]string{p.name}, p.args...) {
			if key := tagKey(name); key != "" && !slices.Contains(out, key) {
				out = append(out, key)
			}
		}
		out = append(out, p.body.keys()...)
	}
	return out
}

// open reads the opening tag of a block.
func (p *templateParser) open(tag string) (part, error) {
	name, rest, _ := strings.Cut(tag[1:], " ")
	b := part{name: name, block: true, negated: tag[0] == '^'}
	for {
		m := quoted.FindStringSubmatch(rest)
		if m == nil {
			break
		}
		b.args = append(b.args, m[1])
		rest = rest[len(m[0]):]
	}
	if strings.TrimSpace(rest) != "" {
		return b, fmt.Errorf("{{%s}}: want quoted arguments", firstLine(tag))
	}
	switch {
	case name == "is_match" || name == "is_exact_match":
		if len(b.args) < 2 {
			return b, fmt.Errorf("%s needs a variable and a text", name)
		}
		if !p.isText(b.args[0]) {
			return b, fmt.Errorf("%s: unknown variable %q", name, b.args[0])
		}
	case !slices.Contains(conditions, name):
		return b, fmt.Errorf("unknown block {{%s}}", firstLine(tag))
	case len(b.args) > 0:
		return b, errors.New(name + " takes no arguments")
	}
	return b, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	if len(line) > 60 {
		line = line[:60]
	}
	return line
}

// Message returns the text for a transition. wall turns the time of the evaluation into the time that readers live in,
// since the clock of the evaluation may run fast; nil leaves times as they are. Epochs are in milliseconds, durations in
// seconds of the evaluation's clock.
func (m *Monitor) Message(t Transition, wall func(time.Time) time.Time) string {
	var b strings.Builder
	m.render(&b, m.message, t, wall)
	return b.String()
}

// Title returns the subject of the notification, such as "[Triggered on {function:qa}] Error Burst".
func (m *Monitor) Title(t Transition, wall func(time.Time) time.Time) string {
	var b strings.Builder
	what := map[Kind]string{
		KindAlert: "Triggered", KindWarn: "Warn", KindNoData: "No data", KindRecovery: "Recovered", KindRenotify: "Re-Triggered",
	}[t.Kind]
	if t.Group == "*" {
		b.WriteString("[" + what + "] ")
	} else {
		b.WriteString("[" + what + " on {" + t.Group + "}] ")
	}
	m.render(&b, m.name, t, wall)
	return b.String()
}

func (m *Monitor) render(b *strings.Builder, parts template, t Transition, wall func(time.Time) time.Time) {
	for _, p := range parts {
		switch {
		case p.name == "":
			b.WriteString(p.text)
		case !p.block:
			b.WriteString(m.variable(p.name, t, wall))
		case m.holds(p, t) != p.negated:
			m.render(b, p.body, t, wall)
		}
	}
}

// holds evaluates the condition of a block.
func (m *Monitor) holds(p part, t Transition) bool {
	switch p.name {
	case "is_alert":
		return t.To == Alert
	case "is_warning":
		return t.To == Warn
	case "is_no_data":
		return t.To == NoData
	case "is_recovery":
		return t.Kind == KindRecovery
	case "is_alert_recovery":
		return t.Kind == KindRecovery && t.From == Alert
	case "is_warning_recovery":
		return t.Kind == KindRecovery && t.From == Warn
	case "is_no_data_recovery":
		return t.Kind == KindRecovery && t.From == NoData
	case "is_alert_to_warning":
		return t.From == Alert && t.To == Warn
	case "is_renotify":
		return t.Kind == KindRenotify
	}
	have := m.text(p.args[0], t)
	return slices.ContainsFunc(p.args[1:], func(want string) bool {
		return have == want || p.name == "is_match" && want != "" && strings.Contains(have, want)
	})
}

func (m *Monitor) variable(name string, t Transition, wall func(time.Time) time.Time) string {
	if wall == nil {
		wall = func(at time.Time) time.Time { return at }
	}
	th := m.Options.Thresholds
	switch name {
	case "value":
		return decimal(&t.Value)
	case "threshold":
		return decimal(&t.Threshold)
	case "comparator":
		return m.condition.operator
	case "warn_threshold":
		return decimal(th.Warning)
	case "alert_recovery_threshold":
		return decimal(th.CriticalRecovery)
	case "warn_recovery_threshold":
		return decimal(th.WarningRecovery)
	case "first_triggered_at":
		return stamp(wall(t.TriggeredAt))
	case "first_triggered_at_epoch":
		return strconv.FormatInt(wall(t.TriggeredAt).UnixMilli(), 10)
	case "last_triggered_at":
		return stamp(wall(t.LastTriggeredAt))
	case "last_triggered_at_epoch":
		return strconv.FormatInt(wall(t.LastTriggeredAt).UnixMilli(), 10)
	case "triggered_duration_sec":
		return strconv.Itoa(int(t.At.Sub(t.TriggeredAt) / time.Second))
	case "timeframe":
		if m.condition.objective != nil {
			return m.condition.objective.over
		}
	}
	if v, ok := t.Values[name]; ok {
		return decimal(&v)
	}
	return m.text(name, t)
}

// text returns what a variable holds of the group's tags or of the latest event; nothing when there is none, as at Datadog.
func (m *Monitor) text(name string, t Transition) string {
	if e := m.condition.events; e != nil && e.isVariable(name) {
		return e.variable(name, t.Event)
	}
	return tagValue(tagKey(name), t.Tags)
}

func stamp(at time.Time) string { return at.UTC().Format("Mon Jan 2 2006 15:04:05 UTC") }

// decimal prints a number for people, or nothing when there is none.
func decimal(v *float64) string {
	if v == nil || math.IsNaN(*v) {
		return ""
	}
	return strconv.FormatFloat(math.Round(*v*1000)/1000, 'f', -1, 64)
}

// tagValue returns the value of the tag with a key.
func tagValue(key string, tags []string) string {
	for _, t := range tags {
		if v, ok := strings.CutPrefix(t, key+":"); ok {
			return v
		}
	}
	return ""
}
