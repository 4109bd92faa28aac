package safety

import "strings"

// The bounds of what is read as one number.
const (
	mostGroups = 9
	mostDigits = 19
)

// group is a run of digits, and what stands before it.
type group struct {
	start, end int
	sep        byte
}

func (g group) len() int { return g.end - g.start }

// number finds the card or telephone number that begins at i, with a digit, a plus or a bracket. inside says that other digits stand before it, so that a
// zero at its beginning need be no trunk prefix.
func number(text string, i int, inside bool) span {
	var groups [mostGroups]group
	n := 0
	plus, bracket := text[i] == '+', text[i] == '('
	j := i
	if plus {
		j++
	}
	var sep byte
	open := false
	if bracket || plus && j < len(text) && text[j] == '(' {
		open = true
		j++
	}
	for n < mostGroups {
		end := j
		for end < len(text) && digit(text[end]) && end-j <= mostDigits {
			end++
		}
		if end == j || end-j > mostDigits {
			break
		}
		groups[n] = group{j, end, sep}
		n++
		// What may part two groups: one separator, or brackets around the second, with spaces.
		j, sep = end, ' '
		if open && j < len(text) && text[j] == ')' {
			open = false
			j++
		}
		if j < len(text) && strings.IndexByte(" .-/", text[j]) >= 0 {
			sep = text[j]
			j++
		}
		if !open && j < len(text) && text[j] == '(' {
			open = true
			j++
		}
		if j == end {
			break
		}
	}
	if n == 0 {
		return span{}
	}
	best := span{}
	for most := 1; most <= n; most++ {
		end := groups[most-1].end
		if !ends(text, end) || end < len(text) && (text[end] == '@' || text[end] == '_') {
			continue
		}
		gs := groups[:most]
		if !plus && !bracket && card(text, gs) {
			return span{i, end, kindCard}
		}
		if phone(text, i, gs, plus, bracket, inside) {
			best = span{i, end, kindPhone}
		}
	}
	return best
}

// card says whether groups of digits are a card number: in the groups of four, or four, six and the rest, that cards are written
// in, with the prefix and length of an issuer and a right check sum.
func card(text string, groups []group) bool {
	var plain [4 + mostDigits]byte
	n := 0
	for i, g := range groups {
		last := i == len(groups)-1
		if i > 0 && (g.sep != groups[1].sep || g.sep == '/' || g.sep == '.') || len(groups) > 1 && (!last && g.len() != 4 && g.len() != 6 || g.len() > 7) {
			return false
		}
		if n+g.len() > mostDigits {
			return false
		}
		n += copy(plain[n:], text[g.start:g.end])
	}
	return n >= 13 && issued(string(plain[:n])) && luhn(plain[:n])
}

// issued says whether a number has a prefix and a length that a card network uses.
func issued(s string) bool {
	n := len(s)
	four := int(s[0]-'0')*1000 + int(s[1]-'0')*100 + int(s[2]-'0')*10 + int(s[3]-'0')
	in := func(low, high int) bool { return four >= low && four <= high }
	switch {
	case in(4000, 4999):
		return n == 13 || n == 16 || n == 19
	case in(5100, 5599), in(2221, 2720), in(2200, 2204):
		return n == 16
	case in(3400, 3499), in(3700, 3799):
		return n == 15
	case in(3000, 3059), in(3600, 3699), in(3800, 3999):
		return n >= 14
	case in(6011, 6011), in(6200, 6299), in(6440, 6599), in(3528, 3589):
		return n >= 16
	case in(5018, 5038), in(6304, 6304), in(6759, 6763):
		return n >= 13
	}
	return false
}

// luhn is the check sum of card numbers (ISO/IEC 7812-1).
func luhn(digits []byte) bool {
	sum := 0
	for i := range digits {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// phone says whether groups of digits are a telephone number. Without a plus, a bracket or a word such as "call" before it,
// only the usual writings of national numbers count: dates, sums and other numbers look alike.
func phone(text string, start int, groups []group, plus, bracket, inside bool) bool {
	total := 0
	for _, g := range groups {
		total += g.len()
	}
	first := groups[0]
	lead := text[first.start]
	if plus {
		return lead != '0' && total >= 8 && total <= 15 && (len(groups) == 1 || first.len() <= 4)
	}
	lengths := func(want ...int) bool {
		if len(groups) != len(want) {
			return false
		}
		for i, g := range groups {
			if g.len() != want[i] {
				return false
			}
		}
		return true
	}
	from := groups
	if len(groups) == 4 && lengths(1, 3, 3, 4) && lead == '1' {
		from = groups[1:]
	}
	if lengths(3, 3, 4) || len(from) == 3 && len(groups) == 4 {
		// North America: neither the area nor the exchange begins with 0 or 1.
		if text[from[0].start] >= '2' && text[from[1].start] >= '2' && (bracket || from[1].sep == from[2].sep && from[1].sep != '/') {
			return true
		}
	}
	if lead == '0' && !inside && len(groups) > 1 && first.len() >= 2 && first.len() <= 6 && !lengths(2, 2, 4, 2) && !lengths(2, 2, 2, 4) {
		// A trunk prefix, or 00 and a country.
		least, most := 10, 11
		if text[first.start+1] == '0' {
			least, most = 11, 15
		}
		even := true
		for _, g := range groups[1:] {
			even = even && (g.sep == groups[1].sep || g.sep == ' ') && g.sep != '.' && g.len() >= 2
		}
		if total >= least && total <= most && even {
			return true
		}
	}
	return total >= 7 && total <= 13 && called(text[:start])
}

// called says whether the text before a number ends with a word that makes it one to call.
func called(before string) bool {
	before = strings.TrimRight(before[max(0, len(before)-24):], " :.#\t")
	before = before[strings.LastIndexAny(before, " \n\t(,.")+1:]
	for _, word := range []string{"phone", "telephone", "tel", "call", "mobile", "cell", "fax", "whatsapp", "sms", "dial"} {
		if strings.EqualFold(before, word) {
			return true
		}
	}
	return false
}
