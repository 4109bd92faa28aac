package probe

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The endpoints that can be asked.
const (
	QA         = "/qa"
	Completion = "/completion"
)

// maxQuestion is the longest question that POST /qa takes, in characters.
const maxQuestion = 1_000

//go:embed golden.json
var builtIn []byte

// Golden is a set of questions whose answers are known.
type Golden struct{ cases []Case }

// Case is one question, with what its answer must hold.
type Case struct {
	// Name is plain and short: it stands in reports, request IDs and logs.
	Name     string
	Endpoint string
	Question string
	// Document is the text that the answer is in; empty for a question without one.
	Document string
	// Unanswerable is set where the document does not hold the answer. What says so need not stand in it.
	Unanswerable bool

	facts  []fact
	forbid []*regexp.Regexp
}

// fact is something that an answer must say, in any of several ways.
type fact struct {
	name   string
	match  []*regexp.Regexp
	number *float64
}

// The golden set as a file. A fact is found by any of its words, which are matched whole and in either case, by any regular
// expression, or by a number, however its thousands are written.
type (
	goldenFile struct {
		Documents map[string]string `json:"documents"`
		Cases     []caseFile        `json:"cases"`
	}
	caseFile struct {
		Name         string     `json:"name"`
		Endpoint     string     `json:"endpoint"`
		Document     string     `json:"document"`
		Unanswerable bool       `json:"unanswerable"`
		Question     string     `json:"question"`
		Facts        []factFile `json:"facts"`
		Forbid       []string   `json:"forbid"`
	}
	factFile struct {
		Name   string   `json:"name"`
		Words  []string `json:"words"`
		Match  []string `json:"match"`
		Number *float64 `json:"number"`
	}
)

// BuiltIn returns the golden set that comes with the function. Its documents were written for it, so that no model has seen them;
// what is asked without one either can't be known, or needs no knowledge. It holds for every provider, the embedded one too.
func BuiltIn() (Golden, error) { return ParseGolden(builtIn) }

// ParseGolden reads a golden set. The error names every bad case.
func ParseGolden(data []byte) (Golden, error) {
	var file goldenFile
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return Golden{}, fmt.Errorf("read golden set: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Golden{}, errors.New("read golden set: there is something after it")
	}
	if len(file.Cases) == 0 {
		return Golden{}, errors.New("read golden set: it has no cases")
	}
	var g Golden
	var errs []error
	seen := map[string]bool{}
	for i, c := range file.Cases {
		parsed, err := c.parse(file.Documents)
		if seen[c.Name] {
			err = errors.Join(err, errors.New("the name stands twice"))
		}
		seen[c.Name] = true
		if err != nil {
			errs = append(errs, fmt.Errorf("golden case %d, %q: %w", i+1, c.Name, err))
			continue
		}
		g.cases = append(g.cases, parsed)
	}
	return g, errors.Join(errs...)
}

var plainName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,47}$`)

func (c caseFile) parse(documents map[string]string) (Case, error) {
	out := Case{Name: c.Name, Endpoint: c.Endpoint, Question: c.Question, Unanswerable: c.Unanswerable}
	var errs []error
	say := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !plainName.MatchString(c.Name) {
		say("a name is 1 to 48 of a-z, 0-9 and -")
	}
	if c.Endpoint != QA && c.Endpoint != Completion {
		say("endpoint %q is not %s or %s", c.Endpoint, QA, Completion)
	}
	if strings.TrimSpace(c.Question) == "" || utf8.RuneCountInString(c.Question) > maxQuestion {
		say("a question has 1 to %d characters", maxQuestion)
	}
	if c.Document != "" {
		if out.Document = documents[c.Document]; strings.TrimSpace(out.Document) == "" {
			say("there is no document %q", c.Document)
		}
	}
	if len(c.Facts) == 0 {
		say("it expects no fact")
	}
	for _, f := range c.Facts {
		parsed, err := f.parse()
		if err != nil {
			say("fact %q: %w", f.Name, err)
		}
		out.facts = append(out.facts, parsed)
	}
	for _, text := range c.Forbid {
		re, err := pattern(text)
		if err != nil {
			say("forbid: %w", err)
		}
		out.forbid = append(out.forbid, re)
	}
	return out, errors.Join(errs...)
}

func (f factFile) parse() (fact, error) {
	out := fact{name: f.Name, number: f.Number}
	if strings.TrimSpace(f.Name) == "" {
		return fact{}, errors.New("it has no name")
	}
	if len(f.Words)+len(f.Match) == 0 && f.Number == nil {
		return fact{}, errors.New("it has no words, match or number")
	}
	for _, words := range f.Words {
		fields := strings.Fields(words)
		if len(fields) == 0 {
			return fact{}, errors.New("words are empty")
		}
		for i, field := range fields {
			fields[i] = regexp.QuoteMeta(field)
		}
		// RE2 has word boundaries for ASCII only, which is what the words of a set begin and end with.
		re, err := pattern(`(?:^|\W)` + strings.Join(fields, `\s+`) + `(?:\W|$)`)
		if err != nil {
			return fact{}, err
		}
		out.match = append(out.match, re)
	}
	for _, text := range f.Match {
		re, err := pattern(text)
		if err != nil {
			return fact{}, err
		}
		out.match = append(out.match, re)
	}
	return out, nil
}

// pattern compiles a regular expression that looks at neither case nor line ends. One that holds of the empty text would hold of
// every answer.
func pattern(text string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(`(?is)` + text)
	if err != nil {
		return nil, fmt.Errorf("compile %q: %w", text, err)
	}
	if re.MatchString("") {
		return nil, fmt.Errorf("%q matches the empty text", text)
	}
	return re, nil
}

// Cases returns the cases, in their order.
func (g Golden) Cases() []Case { return slices.Clone(g.cases) }

// Facts is how many facts an answer must hold.
func (c Case) Facts() int { return len(c.facts) }

// Missing returns the names of the facts that an answer lacks, in their order.
func (c Case) Missing(answer string) []string {
	var missing []string
	for _, f := range c.facts {
		if !f.in(answer) {
			missing = append(missing, f.name)
		}
	}
	return missing
}

// Forbidden is whether an answer says something that it must not.
func (c Case) Forbidden(answer string) bool {
	return slices.ContainsFunc(c.forbid, func(re *regexp.Regexp) bool { return re.MatchString(answer) })
}

func (f fact) in(answer string) bool {
	if slices.ContainsFunc(f.match, func(re *regexp.Regexp) bool { return re.MatchString(answer) }) {
		return true
	}
	return f.number != nil && slices.ContainsFunc(numbers(answer), func(n float64) bool {
		return math.Abs(n-*f.number) <= 1e-9*math.Max(1, math.Abs(*f.number))
	})
}

// numberText is a number with or without separators of thousands, which are commas, apostrophes or narrow spaces, and a decimal
// point. An ordinary space separates numbers.
var numberText = regexp.MustCompile(`\d{1,3}(?:[,'’\x{a0}\x{202f}]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?`)

var separators = strings.NewReplacer(",", "", "'", "", "’", "", "\u00a0", "", "\u202f", "")

// numbers returns the numbers in a text.
func numbers(text string) []float64 {
	var out []float64
	for _, found := range numberText.FindAllString(text, -1) {
		// What the expression finds is a number; one too large for a float is the same as none.
		if n, err := strconv.ParseFloat(separators.Replace(found), 64); err == nil {
			out = append(out, n)
		}
	}
	return out
}
