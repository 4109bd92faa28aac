// Package scanner executes the groups and rules of Datadog's Sensitive Data Scanner for logs, from the very documents that
// its API takes: it redacts what matches a pattern, and tags the log. It is pure: it stores nothing and has no clock. A log
// is scanned after its pipelines and before it is indexed or archived, so filters see what pipelines made.
//
//	what                   as Datadog                                       differs here
//	documents              request bodies of POST …/sensitive-data-         unknown keys are refused
//	                       scanner/config/groups and …/rules
//	is_enabled             a new group is off                               off unless it is true, for rules, too (a guess)
//	product_list           logs, if it is missing                           groups for other products only do nothing
//	samplings              a percentage                                     only 100: the stand-in draws no lots
//	when                   before indexing                                  that it is after pipelines is our reading of
//	                                                                        "during processing" and of the advice to remap a
//	                                                                        tag in a pipeline so that it can be redacted
//	patterns               a subset of PCRE2 without lookarounds,           RE2 with \h and \H; flag x is refused
//	                       backreferences, atomic groups
//	library rules          by reference to a standard pattern               refused: the patterns are not published
//	namespaces             attributes and what is below them; none means    message is a namespace, too, a guess
//	                       message and all attributes
//	reserved words         30 characters after them are left alone          the same, where they are whole words or the name of
//	                                                                        an attribute
//	keywords               near a match, before it                          in any case, a guess
//	tags and fields        not scanned                                      the same
//	numbers                (not documented)                                 scanned as text; one that is redacted is a text then
//	order of rules         (not documented)                                 groups and rules as given; each sees what is left
//	hash                   "the data will be stubbed"                       a 64-bit hash in hexadecimal, another one than there
//	should_save_match      keeps the match for those who may see it         nothing is kept
package scanner

import (
	"fmt"
	"hash/fnv"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/pipeline"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
)

// Document is the body of a group or rule, with the id that it has.
type Document struct {
	ID   string
	Body []byte
}

// Match says what a rule found at one place of a log.
type Match struct {
	// Group and Rule are names; Path is "message" or the path of an attribute.
	Group, Rule, Path string
	Count             int
}

// Scanner is a set of groups and rules that were checked. It is immutable.
type Scanner struct{ groups []group }

type group struct {
	name    string
	enabled bool // for logs
	filter  search.Query
	rules   []rule
}

type rule struct {
	name                 string
	enabled              bool
	re                   *regexp.Regexp
	namespaces, excluded []string
	tags                 []string
	keywords             []string
	window               int
	suppressions         suppressions
	replace              func(match string) string // nil for tags only
}

type suppressions struct {
	StartsWith []string `json:"starts_with"`
	EndsWith   []string `json:"ends_with"`
	Exact      []string `json:"exact_match"`
}

func (s *suppressions) cover(match string) bool {
	return slices.Contains(s.Exact, match) ||
		slices.ContainsFunc(s.StartsWith, func(start string) bool { return strings.HasPrefix(match, start) }) ||
		slices.ContainsFunc(s.EndsWith, func(end string) bool { return strings.HasSuffix(match, end) })
}

// reserved are words that Datadog's platform needs what follows of.
const reserved = `\b(?:hostname|host|syslog\.hostname|service|status|env|dd\.trace_id|trace_id|trace id|dd\.span_id|span_id|span id|` +
	`_timestamp|timestamp|Timestamp|date|published_date|syslog\.timestamp|error\.fingerprint|x-datadog-parent-id)\b`

// spared is how many characters after a reserved word are left alone.
const spared = 30

var reservedWord = regexp.MustCompile(reserved)

// Apply scans a log and returns it with what was redacted and tagged. The log that is passed does not change.
func (s *Scanner) Apply(log pipeline.Log) (pipeline.Log, []Match) {
	var matches []Match
	log.Tags = slices.Clone(log.Tags)
	for _, g := range s.groups {
		if !g.enabled || !g.filter.Match(log) {
			continue
		}
		for _, r := range g.rules {
			if !r.enabled {
				continue
			}
			found := len(matches)
			see := func(path string, count int) { matches = append(matches, Match{g.name, r.name, path, count}) }
			if r.covers("message") {
				log.Message = r.text("message", log.Message, see)
			}
			if attributes, ok := r.value("", log.Attributes, see).(map[string]any); ok {
				log.Attributes = attributes
			}
			if len(matches) == found {
				continue
			}
			for _, t := range r.tags {
				if !slices.Contains(log.Tags, t) {
					log.Tags = append(log.Tags, t)
				}
			}
		}
	}
	// Attributes are walked in no order.
	slices.SortStableFunc(matches, func(a, b Match) int {
		if a.Group == b.Group && a.Rule == b.Rule {
			return strings.Compare(a.Path, b.Path)
		}
		return 0
	})
	return log, matches
}

// covers reports whether the rule looks at a path.
func (r *rule) covers(path string) bool {
	below := func(namespace string) bool { return path == namespace || strings.HasPrefix(path, namespace+".") }
	return (len(r.namespaces) == 0 || slices.ContainsFunc(r.namespaces, below)) && !slices.ContainsFunc(r.excluded, below)
}

// value returns a value with what was redacted in it. What does not change is not copied.
func (r *rule) value(path string, v any, see func(string, int)) any {
	switch v := v.(type) {
	case map[string]any:
		changed := make(map[string]any, len(v))
		for key, inner := range v {
			at := key
			if path != "" {
				at = path + "." + key
			}
			changed[key] = r.value(at, inner, see)
		}
		return changed
	case []any:
		changed := make([]any, len(v))
		for i, inner := range v {
			changed[i] = r.value(path, inner, see)
		}
		return changed
	case nil, bool:
		return v
	default:
		if !r.covers(path) {
			return v
		}
		text := search.Text(v)
		if redacted := r.text(path, text, see); redacted != text {
			return redacted
		}
		return v
	}
}

// text scans one text.
func (r *rule) text(path, text string, see func(string, int)) string {
	found := r.re.FindAllStringIndex(text, -1)
	if found == nil {
		return text
	}
	words := reservedWord.FindAllStringIndex(text, -1)
	if isReserved(path) {
		words = append(words, []int{0, 0})
	}
	var b strings.Builder
	count, last := 0, 0
	for _, at := range found {
		match := text[at[0]:at[1]]
		if match == "" || r.suppressions.cover(match) || !r.near(text[:at[0]]) || isSpared(text, words, at[0]) {
			continue
		}
		count++
		if r.replace != nil {
			b.WriteString(text[last:at[0]])
			b.WriteString(r.replace(match))
			last = at[1]
		}
	}
	if count > 0 {
		see(path, count)
	}
	b.WriteString(text[last:])
	return b.String()
}

// near reports whether a keyword is close before a match, if there must be one.
func (r *rule) near(before string) bool {
	if len(r.keywords) == 0 {
		return true
	}
	start := len(before)
	for range r.window {
		_, size := utf8.DecodeLastRuneInString(before[:start])
		start -= size
	}
	window := strings.ToLower(before[start:])
	return slices.ContainsFunc(r.keywords, func(word string) bool { return strings.Contains(window, word) })
}

// isReserved reports whether an attribute's name is a reserved word.
func isReserved(path string) bool {
	at := reservedWord.FindAllStringIndex(path, -1)
	if len(at) == 0 {
		return false
	}
	last := at[len(at)-1]
	return last[1] == len(path) && (last[0] == 0 || path[last[0]-1] == '.' || path[last[0]-1] == '@')
}

// isSpared reports whether a place is in the characters after a reserved word.
func isSpared(text string, words [][]int, at int) bool {
	return slices.ContainsFunc(words, func(word []int) bool {
		return word[1] <= at && utf8.RuneCountInString(text[word[1]:at]) < spared
	})
}

// Parse reads groups and their rules. A rule belongs to the group that its relationship names.
func Parse(groups, rules []Document) (*Scanner, error) {
	s := &Scanner{}
	place := map[string]int{}
	for i, document := range groups {
		g, err := parseGroup(document.Body)
		if err != nil {
			return nil, fmt.Errorf("read scanner group %s: %w", document.ID, err)
		}
		if _, twice := place[document.ID]; twice {
			return nil, fmt.Errorf("read scanner group %s: there are two of this id", document.ID)
		}
		place[document.ID] = i
		s.groups = append(s.groups, g)
	}
	for _, document := range rules {
		r, owner, err := parseRule(document.Body)
		if err != nil {
			return nil, fmt.Errorf("read scanner rule %s: %w", document.ID, err)
		}
		i, ok := place[owner]
		if !ok {
			return nil, fmt.Errorf("read scanner rule %s: there is no group %q", document.ID, owner)
		}
		s.groups[i].rules = append(s.groups[i].rules, r)
	}
	return s, nil
}

// hash is what a match becomes that is hashed.
func hash(match string) string {
	h := fnv.New64a()
	_, _ = io.WriteString(h, match)
	return fmt.Sprintf("%016x", h.Sum64())
}
