package grok

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	months = []string{"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"}
	days   = []string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
)

// zones are the names of zones that a date may hold, with their hours from UTC.
func zones() map[string]int {
	return map[string]int{
		"UTC": 0, "GMT": 0, "UT": 0, "Z": 0, "WET": 0, "WEST": 1, "BST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "MSK": 3, "JST": 9,
		"AST": -4, "ADT": -3, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
	}
}

// field is a part of a date: a letter of the pattern and how often it is repeated.
type field struct {
	letter byte
	count  int
}

// newDate returns the expression of a date, and how its text becomes milliseconds.
func newDate(args []string) (string, converter, error) {
	location := time.UTC
	if len(args) > 1 {
		var err error
		if location, err = zone(args[1]); err != nil {
			return "", nil, err
		}
	}
	if len(args) > 2 && !strings.HasPrefix(strings.ToLower(args[2]), "en") {
		return "", nil, fmt.Errorf("the locale %q is not known here, only English", args[2])
	}
	fields, expression, groups, err := datePattern(args[0])
	if err != nil {
		return "", nil, err
	}
	re, err := regexp.Compile(`\A` + groups + `\z`)
	if err != nil {
		return "", nil, fmt.Errorf("read the date pattern %q: %w", args[0], err)
	}
	return expression, func(text string, now time.Time) (any, bool) {
		found := re.FindStringSubmatch(text)
		if found == nil {
			return nil, false
		}
		t, ok := assemble(fields, found[1:], location, now)
		return float64(t.UnixMilli()), ok
	}, nil
}

// datePattern translates a pattern to an expression without and with groups, one a field.
func datePattern(pattern string) (fields []field, plain, grouped string, err error) {
	var p, g strings.Builder
	for i := 0; i < len(pattern); {
		c := pattern[i]
		switch {
		case c == '\'':
			end := strings.IndexByte(pattern[i+1:], '\'')
			if end < 0 {
				return nil, "", "", fmt.Errorf("the date pattern %q lacks a second '", pattern)
			}
			literal := pattern[i+1 : i+1+end]
			if literal == "" {
				literal = "'"
			}
			p.WriteString(regexp.QuoteMeta(literal))
			g.WriteString(regexp.QuoteMeta(literal))
			i += end + 2
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
			f := field{letter: c}
			for i < len(pattern) && pattern[i] == c {
				f.count++
				i++
			}
			expression, ok := f.expression()
			if !ok {
				return nil, "", "", fmt.Errorf("the date pattern %q has %q, which is not known here", pattern, strings.Repeat(string(c), f.count))
			}
			fields = append(fields, f)
			p.WriteString("(?:" + expression + ")")
			g.WriteString("(" + expression + ")")
		default:
			end := i + 1
			for end < len(pattern) && pattern[end] >= 0x80 {
				end++
			}
			p.WriteString(regexp.QuoteMeta(pattern[i:end]))
			g.WriteString(regexp.QuoteMeta(pattern[i:end]))
			i = end
		}
	}
	if len(fields) == 0 {
		return nil, "", "", fmt.Errorf("the date pattern %q has no part of a date", pattern)
	}
	return fields, p.String(), g.String(), nil
}

func (f field) expression() (string, bool) {
	switch f.letter {
	case 'y', 'Y', 'u':
		if f.count == 2 {
			return `\d{2}`, true
		}
		return `\d{4}`, f.count <= 4
	case 'M':
		switch {
		case f.count == 3:
			return names(months, 3), true
		case f.count > 3:
			return names(months, 0), true
		}
		return digits(f.count), true
	case 'd', 'H', 'h', 'k', 'K', 'm', 's':
		return digits(f.count), f.count <= 2
	case 'S':
		return fmt.Sprintf(`\d{%d}`, f.count), f.count <= 9
	case 'a':
		return `(?i:am|pm)`, true
	case 'E':
		if f.count <= 3 {
			return names(days, 3), true
		}
		return names(days, 0), true
	case 'Z', 'X', 'x':
		return `[+-]\d{2}:?\d{2}|Z`, true
	case 'z':
		known := make([]string, 0, 24)
		for name := range zones() {
			known = append(known, name)
		}
		// Long names first: UTC is not UT.
		slices.SortFunc(known, func(a, b string) int {
			if len(a) != len(b) {
				return len(b) - len(a)
			}
			return strings.Compare(a, b)
		})
		return strings.Join(known, "|"), true
	}
	return "", false
}

func digits(count int) string {
	if count == 1 {
		return `\d{1,2}`
	}
	return `\d{2}`
}

func names(all []string, length int) string {
	short := slices.Clone(all)
	for i := range short {
		if length > 0 {
			short[i] = short[i][:length]
		}
	}
	return `(?i:` + strings.Join(short, "|") + `)`
}

// assemble makes a time of the texts of fields.
func assemble(fields []field, texts []string, location *time.Location, now time.Time) (time.Time, bool) {
	year, month, day := 0, 0, 0
	hour, minute, second, nanos := 0, 0, 0, 0
	half, twelve := "", false
	for i, f := range fields {
		text := texts[i]
		n, err := strconv.Atoi(text)
		if err != nil {
			n = 0
		}
		switch f.letter {
		case 'y', 'Y', 'u':
			year = n
			if f.count == 2 {
				year += 2000
			}
		case 'M':
			month = n
			if f.count >= 3 {
				month = slices.IndexFunc(months, func(name string) bool { return strings.EqualFold(name[:3], text[:3]) }) + 1
			}
		case 'd':
			day = n
		case 'H', 'k':
			hour = n % 24
			if n > 24 {
				return time.Time{}, false
			}
		case 'h', 'K':
			hour, twelve = n, true
		case 'm':
			minute = n
		case 's':
			second = n
		case 'S':
			for range 9 - f.count {
				n *= 10
			}
			nanos = n
		case 'a':
			half = strings.ToLower(text)
		case 'Z', 'X', 'x':
			l, zoneErr := zone(text)
			if zoneErr != nil {
				return time.Time{}, false
			}
			location = l
		case 'z':
			location = time.FixedZone(text, zones()[text]*3600)
		}
	}
	if twelve {
		if hour > 12 {
			return time.Time{}, false
		}
		hour %= 12
	}
	if half == "pm" && hour < 12 {
		hour += 12
	}
	switch {
	case year == 0 && month == 0 && day == 0:
		year, month, day = 1970, 1, 1
	case year == 0:
		year = now.In(location).Year()
	}
	month, day = max(month, 1), max(day, 1)
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, location)
	// A 31st of February is no date.
	valid := month <= 12 && t.Day() == day && minute < 60 && second < 60
	return t, valid
}

var offset = regexp.MustCompile(`^(?:UTC|GMT|UT)?([+-])(\d{1,2})(?::?(\d{2}))?(?::?(\d{2}))?$`)

// zone reads a time zone as Datadog takes them: UTC, +3, -0300, UTC+5, or a name of the database.
func zone(text string) (*time.Location, error) {
	switch text {
	case "GMT", "UTC", "UT", "Z":
		return time.UTC, nil
	}
	if parts := offset.FindStringSubmatch(text); parts != nil {
		seconds := 0
		for _, part := range parts[2:] {
			n := 0
			if part != "" {
				n, _ = strconv.Atoi(part)
			}
			seconds = seconds*60 + n
		}
		if seconds > 18*3600 {
			return nil, fmt.Errorf("the time zone %q is more than 18 hours away", text)
		}
		if parts[1] == "-" {
			seconds = -seconds
		}
		return time.FixedZone(text, seconds), nil
	}
	if !strings.Contains(text, "/") {
		return nil, fmt.Errorf("the time zone %q is not known", text)
	}
	location, err := time.LoadLocation(text)
	if err != nil {
		return nil, fmt.Errorf("the time zone %q is not known: %w", text, err)
	}
	return location, nil
}
