package safety

import (
	"math"
	"slices"
	"strings"
)

// span is a piece of text that holds personal data or a secret.
type span struct {
	start, end int
	kind       string
}

// The kinds of personal data and secrets.
const (
	kindEmail = "email"
	kindPhone = "phone"
	kindCard  = "card"
	kindIBAN  = "iban"
	kindKey   = "key"
)

var kinds = [...]string{kindCard, kindEmail, kindIBAN, kindKey, kindPhone}

// Kinds are all kinds of personal data and secrets that are known, sorted.
func Kinds() []string { return slices.Clone(kinds[:]) }

// HoldsPersonal says whether a text holds personal data or a secret. It stops at the first.
func HoldsPersonal(text string) bool {
	for range spans(text) {
		return true
	}
	return false
}

// Redact replaces personal data and secrets by their kind in brackets, as in [email]. What it returns holds none.
func Redact(text string) string {
	var b strings.Builder
	at := 0
	for s := range spans(text) {
		b.WriteString(text[at:s.start])
		b.WriteString("[" + s.kind + "]")
		at = s.end
	}
	if at == 0 {
		return text
	}
	b.WriteString(text[at:])
	return b.String()
}

// mark notes the kinds that a text holds.
func mark(found *[len(kinds)]bool, text string) {
	for s := range spans(text) {
		found[slices.Index(kinds[:], s.kind)] = true
	}
}

// spans yields what is found, in the order of the text. Nothing in it looks back further than a word, or ahead further than
// the longest number, but for runs that it then skips: its time is linear. What is found begins and ends where words do, so
// that a text whose findings are cut out holds no new ones.
func spans(text string) func(func(span) bool) {
	return func(yield func(span) bool) {
		mailed := 0 // Up to here, no address begins.
		last := 0   // Up to here, all is read.
		for i := 0; i < len(text); {
			c := text[i]
			if !interesting[c] || i > 0 && alnum(text[i-1]) && (alnum(c) || c == '+' || c == '(') {
				i++
				continue
			}
			var s span
			if i >= mailed && local[c] {
				if s, mailed = address(text, i); s.end == 0 {
					s = other(text, i, last)
				}
			} else {
				s = other(text, i, last)
			}
			if s.end == 0 {
				i++
				continue
			}
			if !yield(s) {
				return
			}
			i, last = s.end, s.end
		}
	}
}

func other(text string, i, last int) span {
	switch c := text[i]; {
	case c == '-':
		return pem(text, i)
	case digit(c) || c == '+' || c == '(':
		return number(text, i, i-last >= 2 && text[i-1] == ' ' && digit(text[i-2]))
	}
	if s := key(text, i); s.end > 0 {
		return s
	}
	return account(text, i)
}

// table marks the bytes of a set.
func table(in func(byte) bool) (t [256]bool) {
	for i := range t {
		t[i] = in(byte(i)) //nolint:gosec // At most 255.
	}
	return t
}

func digit(c byte) bool  { return c >= '0' && c <= '9' }
func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func alnum(c byte) bool  { return digit(c) || letter(c) }

var (
	// local are the bytes of the part of an address before its @.
	local = table(func(c byte) bool { return alnum(c) || strings.IndexByte("._%+-", c) >= 0 })
	// token are the bytes of keys.
	token       = table(func(c byte) bool { return alnum(c) || c == '_' || c == '-' })
	value       = table(func(c byte) bool { return alnum(c) || strings.IndexByte("_-./+=~", c) >= 0 })
	interesting = table(func(c byte) bool { return local[c] || c == '(' })
)

// run returns the end of the run of bytes of a set that begins at i.
func run(text string, i int, set *[256]bool) int {
	for i < len(text) && set[text[i]] {
		i++
	}
	return i
}

// ends says whether a word can end before i.
func ends(text string, i int) bool { return i >= len(text) || !alnum(text[i]) }

// address finds the email address that begins at i, or says up to where none does.
func address(text string, i int) (span, int) {
	at := run(text, i, &local)
	if at == i || at >= len(text) || text[at] != '@' {
		return span{}, at
	}
	end, label, dots := 0, at+1, 0
	for j := at + 1; j < len(text) && (alnum(text[j]) || text[j] == '-' || text[j] == '.'); j++ {
		if text[j] == '.' {
			if j == label {
				break
			}
			label = j + 1
			dots++
			continue
		}
		if dots > 0 && j-label >= 1 && letters(text[label:min(j+1, label+64)]) && ends(text, j+1) {
			end = j + 1
		}
	}
	if end == 0 {
		return span{}, at
	}
	return span{i, end, kindEmail}, end
}

func letters(s string) bool {
	for i := range len(s) {
		if !letter(s[i]) {
			return false
		}
	}
	return len(s) < 64
}

// pem finds a private key in PEM, up to its end mark or the end of the text.
func pem(text string, i int) span {
	const begin, end = "-----BEGIN ", "-----END "
	if !strings.HasPrefix(text[i:], begin) {
		return span{}
	}
	head := text[i:min(len(text), i+64)]
	if !strings.Contains(head, "PRIVATE KEY-----") {
		return span{}
	}
	stop := strings.Index(text[i:], end)
	if stop < 0 {
		return span{i, len(text), kindKey}
	}
	stop += i + len(end)
	if dashes := strings.Index(text[stop:min(len(text), stop+64)], "-----"); dashes >= 0 {
		return span{i, stop + dashes + 5, kindKey}
	}
	return span{i, len(text), kindKey}
}

// prefixes are how the keys of providers begin, and how many bytes follow at least.
var prefixes = []struct {
	prefix string
	least  int
}{
	{"sk-", 16}, {"pk-lf-", 16}, {"AKIA", 16}, {"ASIA", 16}, {"AIza", 35}, {"ya29.", 20}, {"GOCSPX-", 20},
	{"ghp_", 30}, {"gho_", 30}, {"ghu_", 30}, {"ghs_", 30}, {"ghr_", 30}, {"github_pat_", 22}, {"glpat-", 20},
	{"xoxb-", 10}, {"xoxp-", 10}, {"xoxa-", 10}, {"xoxr-", 10}, {"xoxs-", 10}, {"xapp-", 10},
	{"ddpat_", 20}, {"ddapp_", 20}, {"hf_", 30}, {"npm_", 30}, {"sk_live_", 16}, {"sk_test_", 16}, {"rk_live_", 16}, {"whsec_", 20},
}

// keywords are words after which a long random string is a secret.
var keywords = []string{
	"api_key", "api-key", "api key", "apikey", "app_key", "app-key", "app key", "application_key", "application key", "access_key", "access key",
	"secret_key", "secret key", "client_secret", "secret", "token", "password", "passwd", "passphrase", "bearer", "authorization",
}

// firsts are the bytes that keys and keywords begin with.
var firsts = func() [256]bool {
	return table(func(c byte) bool { return strings.IndexByte("spAaGygxdhnrwetbkcPSTBC", c) >= 0 })
}()

func key(text string, i int) span {
	if !firsts[text[i]] {
		return span{}
	}
	rest := text[i:]
	for _, p := range prefixes {
		if rest[0] != p.prefix[0] || !strings.HasPrefix(rest, p.prefix) {
			continue
		}
		body := i + len(p.prefix)
		if end := run(text, body, &token); end-body >= p.least && (p.least != 16 || random(text[body:end], 0)) {
			return span{i, end, kindKey}
		}
	}
	if strings.HasPrefix(rest, "eyJ") {
		if end := jwt(text, i); end > 0 {
			return span{i, end, kindKey}
		}
	}
	for _, word := range keywords {
		if rest[0]|0x20 != word[0] || len(rest) < len(word) || !strings.EqualFold(rest[:len(word)], word) {
			continue
		}
		if s := assigned(text, i+len(word)); s.end > 0 {
			return s
		}
	}
	return span{}
}

// assigned finds the random string that a keyword ending at i is followed by.
func assigned(text string, i int) span {
	for range 3 { // A word may stand between, as in "token is" or "Authorization: Bearer".
		j := i
		for j < len(text) && j-i < 8 && strings.IndexByte(" \t\"'`:=>_", text[j]) >= 0 {
			j++
		}
		if j == i {
			return span{}
		}
		end := run(text, j, &value)
		if random(text[j:end], 16) {
			return span{j, end, kindKey}
		}
		if end-j > 13 {
			return span{}
		}
		i = end
	}
	return span{}
}

// random says whether a string looks as if a machine had made it: long enough, letters and digits, and at least three bits a
// byte.
func random(s string, least int) bool {
	if len(s) < least {
		return false
	}
	s = s[:min(len(s), 256)]
	var count [256]int
	var haveDigit, haveLetter bool
	for i := range len(s) {
		count[s[i]]++
		haveDigit = haveDigit || digit(s[i])
		haveLetter = haveLetter || letter(s[i])
	}
	if !haveDigit || !haveLetter {
		return false
	}
	bits := 0.0
	for _, n := range count {
		if n > 0 {
			p := float64(n) / float64(len(s))
			bits -= p * math.Log2(p)
		}
	}
	return bits >= 3
}

func jwt(text string, i int) int {
	for part := range 3 {
		end := run(text, i, &token)
		if end-i < 10 && part < 2 || end == i {
			return 0
		}
		if part == 2 {
			return end
		}
		if end >= len(text) || text[end] != '.' {
			return 0
		}
		i = end + 1
	}
	return 0
}

// lengths of account numbers by country (ISO 13616 registry).
const lengths = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BR29BY28CH21CR22CY28CZ24DE22DK18DO28EE20EG29ES24FI18FO18FR27GB22GE22GI23GL18GR27GT28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MR27MT31MU30NL18NO15PK24PL28PS29PT25QA29RO24RS22SA24SC31SE24SI19SK24SM27ST25SV28TL23TN24TR26UA29VA22VG24XK20"

// account finds the account number (IBAN) that begins at i: its length is its country's, and its check sum right.
func account(text string, i int) span {
	if len(text)-i < 15 || text[i] < 'A' || text[i] > 'Z' || text[i+1] < 'A' || text[i+1] > 'Z' || !digit(text[i+2]) || !digit(text[i+3]) {
		return span{}
	}
	want := 0
	for c := 0; c < len(lengths); c += 4 {
		if lengths[c:c+2] == text[i:i+2] {
			want = int(lengths[c+2]-'0')*10 + int(lengths[c+3]-'0')
		}
	}
	if want == 0 {
		return span{}
	}
	var plain [34]byte
	n, j := 0, i
	for ; j < len(text) && n < want; j++ {
		switch c := text[j]; {
		case digit(c) || c >= 'A' && c <= 'Z':
			plain[n] = c
			n++
		case (c == ' ' || c == '-') && text[j-1] != ' ' && text[j-1] != '-':
		default:
			return span{}
		}
	}
	if n < want || !ends(text, j) || !mod97(string(plain[4:n])+string(plain[:4])) {
		return span{}
	}
	return span{i, j, kindIBAN}
}

// mod97 says whether a number, its letters read as 10 to 35, leaves 1 modulo 97.
func mod97(s string) bool {
	rest := 0
	for i := range len(s) {
		if c := s[i]; digit(c) {
			rest = (rest*10 + int(c-'0')) % 97
		} else {
			rest = (rest*100 + int(c-'A') + 10) % 97
		}
	}
	return rest == 1
}
