package api

import (
	"net/url"
	"strconv"
	"strings"
)

// page is which part of a list is asked for.
type page struct{ offset, size int }

// cut returns the part of all that p asks for.
func cut[T any](all []T, p page) []T {
	from := min(p.offset, len(all))
	return all[from : from+min(p.size, len(all)-from)]
}

// whole returns a parameter that must be a whole number of at least zero and at most most, or the default. More than
// most is most.
func whole(q url.Values, name string, otherwise, most int) (int, error) {
	s := q.Get(name)
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, bad("Invalid value for parameter %s: %s", name, s)
	}
	return min(n, most), nil
}

// numbered reads parameters of a page number, from zero, and a page size.
func numbered(q url.Values, number, size string, otherwise, most int) (page, error) {
	n, err := whole(q, number, 0, 1<<20)
	if err != nil {
		return page{}, err
	}
	s, err := whole(q, size, otherwise, most)
	if err != nil {
		return page{}, err
	}
	return page{n * s, s}, nil
}

// ranged reads parameters of a first item and a count.
func ranged(q url.Values, start, count string, otherwise, most int) (page, error) {
	n, err := whole(q, start, 0, 1<<30)
	if err != nil {
		return page{}, err
	}
	s, err := whole(q, count, otherwise, most)
	if err != nil {
		return page{}, err
	}
	return page{n, s}, nil
}

// split parts a parameter at commas and drops what is empty.
func split(s string) []string {
	var out []string
	for p := range strings.SplitSeq(s, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}

// contains reports whether s holds part, whatever their case.
func contains(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
}
