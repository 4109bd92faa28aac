package limit

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Limits are those of one caller; 0 means none.
type Limits struct {
	RequestsPerMinute, TokensPerMinute int
	USDPerDay                          float64
}

func (l Limits) nanoUSD() int64 { return int64(math.Round(l.USDPerDay * 1e9)) }

// Rules are the limits by caller. Those of "*" are each other caller's, for itself.
type Rules map[string]Limits

// others is the name of the rule for callers without one of their own.
const others = "*"

// For returns the limits of a caller.
func (r Rules) For(caller string) Limits {
	if l, ok := r[caller]; ok {
		return l
	}
	return r[others]
}

// ParseRules reads rules as they are configured:
//
//	*:rpm=600;web:rpm=60,tpm=100000,usd_day=2.50
//
// rpm are requests and tpm tokens a minute, usd_day is USD a day; what is not named has no limit. All problems are told at once.
func ParseRules(text string) (Rules, error) {
	rules := Rules{}
	var errs []error
	for part := range strings.SplitSeq(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		caller, list, ok := strings.Cut(part, ":")
		if caller = strings.TrimSpace(caller); !ok || caller == "" {
			errs = append(errs, fmt.Errorf("%q is not like web:rpm=60,tpm=100000,usd_day=5", part))
			continue
		}
		if _, twice := rules[caller]; twice {
			errs = append(errs, fmt.Errorf("%s has two rules", caller))
		}
		l, err := parseLimits(caller, list)
		if err != nil {
			errs = append(errs, err)
		}
		rules[caller] = l
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return rules, nil
}

func parseLimits(caller, list string) (l Limits, err error) {
	var errs []error
	seen := map[string]bool{}
	for item := range strings.SplitSeq(list, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(item), "=")
		if seen[name] {
			errs = append(errs, fmt.Errorf("%s: %s stands there twice", caller, name))
		}
		seen[name] = true
		switch name {
		case "rpm":
			l.RequestsPerMinute, err = whole(value)
		case "tpm":
			l.TokensPerMinute, err = whole(value)
		case "usd_day":
			if l.USDPerDay, err = strconv.ParseFloat(value, 64); err != nil || !(l.USDPerDay >= 1e-6 && l.USDPerDay <= 1e6) {
				err = errors.New("must be USD from 0.000001 to 1000000")
			}
		default:
			errs = append(errs, fmt.Errorf("%s: %q is none of rpm, tpm and usd_day", caller, name))
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s %w", caller, name, err))
		}
	}
	return l, errors.Join(errs...)
}

func whole(value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > 1e9 {
		return 0, errors.New("must be a whole number from 1 to 1000000000")
	}
	return n, nil
}
