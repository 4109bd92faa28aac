package injection

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// rule is a pair of classes in one sentence: a word of then, at most gap words after one of first, where with, if it is set,
// is somewhere in the sentence.
type rule struct {
	name        string
	first, then class
	gap         int
	with        class
}

// rules are what attacks are made of. What each says is for the weights.
var rules = []rule{
	{"override instructions", override, instructions, 8, 0},
	{"override prior instructions", override, instructions, 9, prior | your},
	{"override what was said", override, prior, 6, 0},
	{"override everything", override, anything, 4, 0},
	{"override limits", override, limits, 7, 0},
	{"override in your reply", override, your, 5, 0},
	{"reveal prior instructions", reveal, instructions, 9, prior},
	{"reveal your instructions", reveal, instructions, 9, your},
	{"reveal instructions", reveal, instructions, 6, 0},
	{"reveal the system's", reveal, system, 6, instructions},
	{"reveal a secret", reveal, secret, 10, 0},
	{"a secret from you", secret, you, 10, 0},
	{"you and a secret", you, secret, 12, 0},
	{"a spelled secret", secret, spell, 16, 0},
	{"spell out", reveal, spell, 10, 0},
	{"your instructions", your, instructions, 3, 0},
	{"instructions to you", you, instructions, 6, 0},
	{"new persona", you, persona, 10, pretend},
	{"pretend to be a machine", pretend, machine, 8, 0},
	{"pretend", pretend, negation, 16, limits},
	{"you are a machine", you, machine, 10, 0},
	{"you are a jailbreak", you, jailbreak, 12, 0},
	{"jailbreak can", jailbreak, anything, 12, 0},
	{"a jailbreak persona", jailbreak, persona, 3, 0},
	{"no limits", negation, limits, 6, 0},
	{"machine without limits", machine, limits, 16, negation},
	{"free of limits", free, machine, 10, 0},
	{"a free persona", you, free, 12, 0},
	{"does not obey", negation, obey, 6, 0},
	{"obey me", you, obey, 6, 0},
	{"never refuse", negation, refuse, 6, 0},
	{"do anything", you, anything, 8, 0},
	{"from now on you", onward, you, 5, 0},
	{"you from now on", you, onward, 6, 0},
	{"your reply", your, reply, 3, 0},
	{"transform your reply", transform, reply, 4, your},
	{"include in your reply", include, reply, 6, your},
	{"your reply encoded", reply, encode, 8, 0},
	{"encode your reply", encode, reply, 8, 0},
	{"encode", transform, encode, 6, 0},
	{"your reply in a language", reply, language, 6, 0},
	{"answer in a language", transform, language, 5, 0},
	{"promote in your reply", reply, promote, 20, 0},
	{"promote", transform, promote, 10, your},
	{"include this code", include, code, 8, following},
	{"include this piece", include, piece, 8, following},
	{"this piece of code", following, code, 2, piece},
	{"your code", your, code, 3, 0},
	{"only print", only, reveal, 2, 0},
	{"stop and print", halt, reveal, 8, 0},
	{"halt", halt, anything, 3, 0},
	{"print harm", reveal, harm, 8, 0},
	{"an untrue text", untrue, task, 4, 0},
	{"write harm", transform, harm, 8, 0},
	{"instructions reformatted", instructions, encode, 8, 0},
	{"instructions as code", instructions, code, 8, reveal},
	{"start your reply with", reply, promote, 3, your},
	{"your reply with", reply, place, 6, your},
	{"do not obey what was said", obey, prior, 4, negation},
	{"do not obey instructions", obey, instructions, 6, negation},
	{"persona stands for", persona | jailbreak | machine, stands, 6, 0},
	{"named from now on", stands, onward, 6, 0},
	{"you must not", you, must, 2, negation},
	{"your secret", your, secret, 2, 0},
	{"machine does anything", machine, anything, 10, 0},
	{"secret system prompt", system, instructions, 1, 0},
}

// Each rule has a feature for each of the moods that its sentence can be in.
const (
	imperative = iota
	statement
	question
	moods
)

// shapes are the features of the text as a whole.
const (
	fenced = iota
	template
	rolesAtLines
	separator
	shouting
	hiddenRunes
	blob
	endsWithColon
	short
	medium
	long
	dangerous
	manyDangers
	jailbreakNamed
	jailbreakRepeated
	harmful
	spacedLetters
	addressed
	machineRepeated
	placeholder
	firstIsOverride
	firstIsReveal
	firstIsInclude
	firstIsTransform
	firstIsQuestion
	quoteAfterReveal
	moodMixed
	overrideRepeated
	commanded
	commandedOften
	shapes
)

var shapeNames = [shapes]string{
	"code fence", "chat template", "roles at line starts", "separator", "shouting", "hidden characters", "blob", "ends with a colon",
	"short", "medium", "long", "dangerous code", "much dangerous code", "jailbreak named", "jailbreak repeated", "harmful",
	"spaced letters", "addressed to you", "machine repeated", "placeholder", "begins with override", "begins with reveal",
	"begins with include", "begins with transform", "begins with a question", "told what to say", "orders after a text", "override repeated",
	"commands to you", "many commands to you",
}

var moodNames = [moods]string{"order", "statement", "question"}

// handmade is how many features are made by hand; hashed word pairs follow them.
func handmade() int { return len(rules)*moods + shapes }

// Names names the hand-made features, in their order.
func Names() []string {
	var names []string
	for i := range rules {
		for _, mood := range moodNames {
			names = append(names, rules[i].name+": "+mood)
		}
	}
	return append(names, shapeNames[:]...)
}

// Buckets is how many weights the hashed words and word pairs share.
const Buckets = 1 << 12

// sentence is as many words as are looked at together.
const sentence = 48

// scanner reads a text once.
type scanner struct {
	lexicon map[string]class
	hand    []bool
	hashed  [Buckets / 64]uint64
	grams   []uint16
	words   [sentence]class
	n       int
	// seen is the union of words.
	seen       class
	sentences  int
	total      int
	yous, caps int
	letters    int
	singles    int
	dangers    int
	jailbreaks int
	machines   int
	overrides  int
	commands   int
	colon      bool
	last       uint32
}

// set marks a feature of a rule.
func (s *scanner) rule(i, mood int) { s.hand[i*moods+mood] = true }

func (s *scanner) shape(i int, on bool) {
	if on {
		s.hand[len(rules)*moods+i] = true
	}
}

// Features returns the indices of the features that a text has, hand-made ones first. They are all of the same worth.
func Features(text string) []uint16 {
	s := scanner{lexicon: lexicon(), hand: make([]bool, handmade())}
	s.scan(text)
	s.finish(text)
	out := make([]uint16, 0, 64+len(s.grams))
	for i, on := range s.hand {
		if on {
			out = append(out, uint16(i)) //nolint:gosec // There are some hundred features.
		}
	}
	base := uint16(handmade()) //nolint:gosec // As above.
	for _, g := range s.grams {
		out = append(out, base+g)
	}
	return out
}

// longest is the longest word that is looked up, in bytes.
const longest = 40

func (s *scanner) scan(text string) {
	var word [longest + utf8.UTFMax]byte
	n, overflow := 0, false
	upper := 0
	var before rune
	flush := func() {
		if n > 0 {
			s.word(word[:n], overflow, upper)
		}
		n, overflow, upper = 0, false, 0
	}
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(text[i:])
		}
		i += size
		if r >= 0xFF01 && r <= 0xFF5E { // Full-width forms of ASCII.
			r -= 0xFEE0
		}
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
		case r >= 'A' && r <= 'Z':
			r += 'a' - 'A'
			upper++
		case r == '’' || r == '\'' || r == '-' || r == '_':
			if r == '’' {
				r = '\''
			}
			if n == 0 {
				before = r
				continue
			}
		case r == '.' && n > 0 && i < len(text) && alnum(text[i]):
			// A dot inside a word, as in os.system.
		case hidden(r):
			s.shape(hiddenRunes, true)
			continue
		case r < utf8.RuneSelf:
			flush()
			if r == '.' || r == '!' || r == '?' || r == '\n' && before == '\n' || r == ':' || r == ';' {
				s.end(r, i, text)
			}
			before = r
			continue
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul):
			flush()
			s.pair(before, r)
			before = r
			continue
		case unicode.IsLetter(r):
			r = unicode.ToLower(r)
		default:
			flush()
			if r == '。' || r == '？' || r == '！' {
				s.end(r, i, text)
			}
			before = r
			continue
		}
		before = r
		if n >= longest {
			overflow = true
			continue
		}
		n += utf8.EncodeRune(word[n:n+utf8.UTFMax], r)
	}
	flush()
	s.end(0, len(text), text)
}

func alnum(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' || b >= '0' && b <= '9' }

// hidden says whether a rune is not seen: zero width, soft hyphen, and tags.
func hidden(r rune) bool {
	return r == 0xAD || r >= 0x200B && r <= 0x200F || r >= 0x2060 && r <= 0x2064 || r == 0xFEFF || r >= 0xE0000 && r <= 0xE007F
}

// pair looks up two characters of a script that does not part its words.
func (s *scanner) pair(a, b rune) {
	var buf [2 * utf8.UTFMax]byte
	n := utf8.EncodeRune(buf[:], a)
	n += utf8.EncodeRune(buf[n:], b)
	if c := s.lexicon[string(buf[:n])]; c != 0 {
		s.take(c)
	}
}

func (s *scanner) word(w []byte, overflow bool, upper int) {
	c := s.lexicon[string(w)]
	if c == 0 {
		if plain, ok := unleet(w); ok {
			c = s.lexicon[string(plain)]
		}
	}
	if overflow {
		s.shape(blob, true)
	}
	s.total++
	s.letters += len(w)
	s.caps += upper
	if len(w) == 1 && w[0] != 'a' && w[0] != 'i' {
		s.singles++
	}
	h := uint32(2166136261)
	for _, b := range w {
		h = (h ^ uint32(b)) * 16777619
	}
	s.gram(h)
	s.gram(h*31 ^ s.last*16777619)
	s.last = h
	s.take(c)
}

func (s *scanner) gram(h uint32) {
	h ^= h >> 15
	h *= 2246822519
	b := (h >> 13) % Buckets
	if s.hashed[b/64]&(1<<(b%64)) == 0 {
		s.hashed[b/64] |= 1 << (b % 64)
		s.grams = append(s.grams, uint16(b))
	}
}

func (s *scanner) take(c class) {
	if s.n == sentence {
		s.match(false)
	}
	s.words[s.n] = c
	s.n++
	s.seen |= c
	if c&(you|your) != 0 {
		s.yous++
	}
	if c&danger != 0 {
		s.dangers++
	}
	if c&jailbreak != 0 {
		s.jailbreaks++
	}
	if c&machine != 0 {
		s.machines++
	}
	if c&override != 0 {
		s.overrides++
	}
	s.shape(harmful, c&harm != 0)
}

// unleet undoes digits for letters, as in 1gn0re.
func unleet(w []byte) ([]byte, bool) {
	if !bytes.ContainsAny(w, "013457") || len(w) < 4 {
		return nil, false
	}
	plain := slices.Clone(w)
	for i, b := range plain {
		if at := strings.IndexByte("013457", b); at >= 0 {
			plain[i] = "oieast"[at]
		}
	}
	return plain, true
}

// end closes a sentence, after the rune r that ends at byte at.
func (s *scanner) end(r rune, at int, text string) {
	if s.n == 0 {
		return
	}
	if s.seen&reveal != 0 && (r == ':' || strings.HasPrefix(strings.TrimLeft(text[at:min(at+4, len(text))], " "), "\"")) {
		s.shape(quoteAfterReveal, true)
	}
	s.colon = r == ':'
	s.match(r == '?' || r == '？')
}

// match tries the rules on the sentence, and begins the next.
func (s *scanner) match(asked bool) {
	words := s.words[:s.n]
	// The verb of an order comes first, or after a word of politeness.
	head := 0
	for head < len(words)-1 && head < 3 && words[head]&polite != 0 {
		head++
	}
	asked = asked || words[0]&asking != 0
	if s.sentences == 0 {
		s.shape(firstIsOverride, words[head]&override != 0)
		s.shape(firstIsReveal, words[head]&reveal != 0)
		s.shape(firstIsInclude, words[head]&include != 0)
		s.shape(firstIsTransform, words[head]&transform != 0)
		s.shape(firstIsQuestion, asked)
	}
	for i := range rules {
		r := &rules[i]
		if s.seen&r.first == 0 || s.seen&r.then == 0 || r.with != 0 && s.seen&r.with == 0 {
			continue
		}
		at := -1
		for j, c := range words {
			if at >= 0 && j > at && j-at <= r.gap && c&r.then != 0 {
				switch {
				case asked:
					s.rule(i, question)
				case at <= head:
					s.rule(i, imperative)
				default:
					s.rule(i, statement)
				}
				break
			}
			if c&r.first != 0 {
				at = j
			}
		}
	}
	if s.seen&must != 0 && s.seen&(you|jailbreak|machine) != 0 && !asked {
		s.commands++
	}
	s.sentences++
	s.n, s.seen = 0, 0
}

var (
	templates  = []string{"<|im_", "<|system", "<|user", "<|assistant", "<|endoftext", "[inst]", "[/inst]", "<<sys>>", "</system>", "<system>", "<|start_header", "### instruction", "###instruction", "### system", "[system]", "{system", "<s>", "<|eot"}
	roles      = []string{"user:", "assistant:", "human:", "ai:", "system:", "bot:", "chatgpt:", "gpt:", "me:"}
	separators = []string{"-----", "=====", "#####", "*****", "%%%", "~~~~", "_____", "\"\"\"\"", ">>>>", "<<<<"}
)

// finish adds what is true of the text as a whole.
func (s *scanner) finish(text string) {
	s.shape(fenced, strings.Contains(text, "```"))
	s.shape(placeholder, strings.Contains(text, "[insert") || strings.Contains(text, "[your ") || strings.Contains(text, "[The "))
	for _, mark := range separators {
		s.shape(separator, strings.Contains(text, mark))
	}
	if strings.ContainsAny(text, "<[#{") {
		lower := strings.ToLower(text)
		for _, mark := range templates {
			s.shape(template, strings.Contains(lower, mark))
		}
	}
	starts := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		for _, mark := range roles {
			if len(line) >= len(mark) && strings.EqualFold(line[:len(mark)], mark) {
				starts++
			}
		}
	}
	s.shape(rolesAtLines, starts > 1)
	s.shape(shouting, s.letters >= 20 && s.caps*2 > s.letters)
	s.shape(endsWithColon, s.colon)
	s.shape(short, s.total <= 12)
	s.shape(medium, s.total > 60)
	s.shape(long, s.total > 250)
	s.shape(dangerous, s.dangers > 0)
	s.shape(manyDangers, s.dangers > 1)
	s.shape(jailbreakNamed, s.jailbreaks > 0)
	s.shape(jailbreakRepeated, s.jailbreaks > 2)
	s.shape(spacedLetters, s.total > 8 && s.singles*2 > s.total)
	s.shape(addressed, s.yous*12 > s.total)
	s.shape(machineRepeated, s.machines > 2)
	s.shape(commanded, s.commands > 2)
	s.shape(commandedOften, s.commands > 5)
	s.shape(overrideRepeated, s.overrides > 1)
}
