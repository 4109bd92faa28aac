package monitor

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"
)

// objective is the condition of an SLO alert: a burn rate, or with long == 0 the part of the error budget that is spent.
//
// A burn rate alerts when both windows are above the threshold. Datadog recommends a short window of a twelfth of the long
// one, and requires only that it is shorter; so does this.
type objective struct {
	id, over    string
	long, short time.Duration
}

var (
	burnForm   = regexp.MustCompile(`^burn_rate\("([^"]+)"\)\.over\("([^"]+)"\)\.long_window\("([^"]+)"\)\.short_window\("([^"]+)"\)$`)
	budgetForm = regexp.MustCompile(`^error_budget\("([^"]+)"\)\.over\("([^"]+)"\)$`)
)

func (c condition) withObjective(text string) (condition, error) {
	switch {
	case !c.above():
		return c, fmt.Errorf("an SLO alert compares by > or >=, have %s", c.operator)
	case c.threshold <= 0:
		return c, fmt.Errorf("threshold %v is not above 0", c.threshold)
	}
	o := &objective{}
	c.objective = o
	if strings.HasPrefix(text, "error_budget") {
		m := budgetForm.FindStringSubmatch(text)
		if m == nil {
			return c, errors.New(`want error_budget("id").over("30d")`)
		}
		if o.id, o.over = m[1], m[2]; c.threshold > 100 {
			return c, fmt.Errorf("an error budget of %v %% is above 100", c.threshold)
		}
		return c, nil
	}
	m := burnForm.FindStringSubmatch(text)
	if m == nil {
		return c, errors.New(`want burn_rate("id").over("30d").long_window("1h").short_window("5m")`)
	}
	o.id, o.over = m[1], m[2]
	var err error
	if o.long, err = parseWindow("last_" + m[3]); err != nil {
		return c, fmt.Errorf("long_window: %w", err)
	}
	if o.short, err = parseWindow("last_" + m[4]); err != nil {
		return c, fmt.Errorf("short_window: %w", err)
	}
	if o.long < time.Hour || o.long > 48*time.Hour || o.short >= o.long {
		return c, fmt.Errorf("want a long window of 1h to 48h and a shorter short one, have %v and %v", o.long, o.short)
	}
	return c, nil
}

func (o *objective) read(data Data, now time.Time) []reading {
	r := reading{group: "*", value: math.NaN(), first: now.Add(-o.long), last: now}
	if s, ok := data.SLO(o.id); ok && o.long == 0 {
		r.value = s.BudgetSpent(data, o.over, now)
	} else if ok {
		long, short := s.BurnRate(data, o.over, o.long, o.short, now)
		r.value = min(long, short) // above the threshold exactly when both are
		r.values = map[string]float64{"long_window_burn_rate": long, "short_window_burn_rate": short}
	}
	r.recovery = r.value
	return []reading{r}
}

// check holds what the SLO itself must allow: it exists, has the timeframe, and can burn as fast as the threshold.
func (o *objective) check(data Data, threshold float64) error {
	s, ok := data.SLO(o.id)
	if !ok {
		return fmt.Errorf("no slo %q", o.id)
	}
	if _, ok := s.Target(o.over); !ok {
		return fmt.Errorf("slo %q has no timeframe %s", o.id, o.over)
	}
	if highest := s.MaxBurnRate(o.over); o.long > 0 && threshold > highest {
		return fmt.Errorf("burn rate %v is above the highest possible, %v", threshold, highest)
	}
	return nil
}
