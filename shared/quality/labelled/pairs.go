package labelled

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Kind is how a pair was made.
type Kind string

// The kinds. The first three are supported by their document, the others are not.
const (
	Verbatim   Kind = "verbatim"
	Merged     Kind = "merged"
	Paraphrase Kind = "paraphrase"
	Number     Kind = "changed number"
	Entity     Kind = "swapped entity"
	Negation   Kind = "negation"
	Elsewhere  Kind = "another document"
	Addition   Kind = "plausible addition"
)

// Supported is whether the document supports the answer.
func (k Kind) Supported() bool { return k == Verbatim || k == Merged || k == Paraphrase }

// Kinds returns all kinds, the supported ones first.
func Kinds() []Kind {
	return []Kind{Verbatim, Merged, Paraphrase, Number, Entity, Negation, Elsewhere, Addition}
}

// Pair is a document and an answer.
type Pair struct {
	Kind     Kind
	Document Document
	Answer   string
}

// Pairs makes up to n pairs of each kind from documents: the same ones for the same documents and seed. A kind that few sentences
// allow has fewer.
func Pairs(docs []Document, n int, seed uint64) []Pair {
	var out []Pair
	for i, kind := range Kinds() {
		m := maker{rand.New(rand.NewPCG(seed, uint64(i))), docs}
		made := map[string]bool{}
		for tries := 0; len(made) < n && tries < 50*n; tries++ {
			doc := docs[m.IntN(len(docs))]
			answer, ok := m.make(kind, doc)
			if ok && !made[answer] && strings.Contains(doc.Text, answer) == (kind == Verbatim) {
				made[answer] = true
				out = append(out, Pair{kind, doc, answer})
			}
		}
	}
	return out
}

// maker makes answers.
type maker struct {
	*rand.Rand
	docs []Document
}

func (m maker) sentence(d Document) string { return d.Sentences[m.IntN(len(d.Sentences))] }

func (m maker) make(kind Kind, doc Document) (answer string, ok bool) {
	s := m.sentence(doc)
	switch kind {
	case Verbatim:
		return s, true
	case Merged:
		other := m.sentence(doc)
		return s + " " + other, s != other
	case Paraphrase:
		return m.paraphrase(s)
	case Number:
		return m.number(s)
	case Entity:
		return m.entity(s, doc)
	case Negation:
		return m.negate(s)
	case Elsewhere:
		other := m.docs[m.IntN(len(m.docs))]
		return m.sentence(other), other.Name != doc.Name
	case Addition:
		other := m.docs[m.IntN(len(m.docs))]
		return m.add(s, m.sentence(other)), other.Name != doc.Name
	}
	return "", false
}

// synonyms are words of documentation that stand for each other. The signals know nothing of this table.
var synonyms = map[string]string{
	"returns": "yields", "reports": "tells", "whether": "if", "contains": "holds", "provides": "offers", "implements": "realises", "begin": "start",
	"uses": "employs", "used": "employed", "creates": "makes", "specified": "given", "given": "specified", "allows": "lets", "sets": "assigns",
	"required": "needed", "needed": "required", "perform": "carry out", "performs": "carries out", "obtain": "get", "largest": "biggest", "invoked": "called",
	"because": "since", "however": "yet", "occurs": "happens", "removes": "deletes", "delete": "remove", "error": "failure", "entire": "whole",
	"multiple": "several", "various": "several", "similar": "alike", "immediately": "at once", "prior": "earlier", "ensure": "make sure", "ensures": "makes sure",
	"attempt": "try", "attempts": "tries", "function": "routine", "callers": "users", "caller": "user", "zero": "0", "two": "2", "three": "3", "four": "4",
	"large": "big", "small": "little", "initial": "first", "final": "last", "additional": "further", "represents": "stands for", "describes": "explains",
	"supported": "available", "typically": "usually", "usually": "typically", "only": "solely", "possible": "feasible", "instead": "rather", "but": "though",
	"don't": "do not", "doesn't": "does not", "isn't": "is not", "can't": "cannot", "cannot": "can't", "it's": "it is",
}

// paraphrase says a sentence otherwise: another order of its clauses, other words, fewer asides. A third of it at most is new.
func (m maker) paraphrase(s string) (string, bool) {
	before := s
	if rest, ok := strings.CutPrefix(s, "If "); ok {
		if condition, then, ok := strings.Cut(rest, ", "); ok && !strings.Contains(then, ",") {
			s = upper(strings.TrimSuffix(then, ".")) + " if " + condition + "."
		}
	}
	if open := strings.Index(s, " ("); open > 0 {
		if n := strings.Index(s[open:], ")"); n > 0 {
			s = s[:open] + s[open+n+1:]
		}
	}
	words := strings.Fields(s)
	changed := 0
	for i, w := range words {
		bare := strings.TrimRight(w, ".,;")
		put, ok := synonyms[strings.ToLower(bare)]
		if !ok || changed >= len(words)/3 {
			continue
		}
		if unicode.IsUpper([]rune(bare)[0]) {
			put = upper(put)
		}
		words[i] = put + w[len(bare):]
		changed++
	}
	s = strings.Join(words, " ")
	return s, s != before && changed > 0
}

// digits are the positions of the words that are numbers.
func digits(words []string) (at []int) {
	for i, w := range words {
		if _, err := strconv.Atoi(strings.Trim(w, ".,;()")); err == nil {
			at = append(at, i)
		}
	}
	return at
}

// number changes one number.
func (m maker) number(s string) (string, bool) {
	words := strings.Fields(s)
	at := digits(words)
	if len(at) == 0 {
		return "", false
	}
	i := at[m.IntN(len(at))]
	bare := strings.Trim(words[i], ".,;()")
	n, err := strconv.Atoi(bare)
	if err != nil {
		return "", false
	}
	other := []int{n + 1 + m.IntN(9), n*2 + 1, n * 10, 3 + m.IntN(90)}[m.IntN(4)]
	if other == n {
		return "", false
	}
	words[i] = strings.Replace(words[i], bare, strconv.Itoa(other), 1)
	return strings.Join(words, " "), true
}

// entities are the names in a sentence: words with a capital that do not begin it.
func entities(s string) (out []string) {
	for i, w := range strings.Fields(s) {
		bare := strings.Trim(w, `.,;()"'`)
		if i > 0 && len(bare) > 2 && unicode.IsUpper([]rune(bare)[0]) && !strings.Contains(bare, "'") {
			out = append(out, bare)
		}
	}
	return out
}

// entity puts another name of the same document in the place of one.
func (m maker) entity(s string, doc Document) (string, bool) {
	own := entities(s)
	if len(own) == 0 {
		return "", false
	}
	others := slices.DeleteFunc(entities(m.sentence(doc)), func(e string) bool { return strings.Contains(s, e) })
	if len(others) == 0 {
		return "", false
	}
	return strings.Replace(s, own[m.IntN(len(own))], others[m.IntN(len(others))], 1), true
}

// negations are words and what denies them.
var negations = [][2]string{
	{" is ", " is not "}, {" are ", " are not "}, {" can ", " cannot "}, {" must ", " must not "}, {" will ", " will not "}, {" may ", " may not "}, {" should ", " should not "},
	{" returns ", " does not return "}, {" reports ", " does not report "}, {" contains ", " does not contain "}, {" uses ", " does not use "}, {" has ", " does not have "},
}

// negate denies what a sentence says, or says what it denies.
func (m maker) negate(s string) (string, bool) {
	for _, i := range m.Perm(len(negations)) {
		plain, denied := negations[i][0], negations[i][1]
		if strings.Contains(s, denied) {
			return strings.Replace(s, denied, plain, 1), true
		}
		if strings.Contains(s, plain) && !strings.Contains(s, plain+"not ") {
			return strings.Replace(s, plain, denied, 1), true
		}
	}
	return "", false
}

// add appends a clause of another document.
func (m maker) add(s, other string) string {
	words := strings.Fields(strings.TrimSuffix(other, "."))
	n := min(len(words), 6+m.IntN(7))
	words[0] = strings.ToLower(words[0])
	return strings.TrimSuffix(s, ".") + ", and " + strings.Join(words[:n], " ") + "."
}

func upper(s string) string {
	r := []rune(s)
	r[0] = unicode.ToUpper(r[0])
	return string(r)
}
