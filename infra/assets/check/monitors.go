package check

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/monitor"
)

// The forms of a monitor's query.
var (
	comparison  = regexp.MustCompile(`^(?s:\s*(.*\S)\s*(>=|<=|==|>|<)\s*(-?[0-9]+(?:\.[0-9]+)?)\s*)$`)
	metricForm  = regexp.MustCompile(`^(?s:([a-z_]+)\((last_[0-9]+[a-z])\)\s*:\s*(.*))$`)
	anomalyForm = regexp.MustCompile(`^(?s:anomalies\((.*?)\s*,\s*'([a-z]+)'\s*,\s*([0-9.]+)\s*(.*)\))$`)
	argument    = regexp.MustCompile(`([a-z_]+)\s*=\s*'?([A-Za-z0-9_]+)'?`)
	searchForm  = regexp.MustCompile(`^(?s:([a-z0-9-]+)\("((?:[^"\\]|\\.)*)"\)((?:\.[a-z_]+\((?:[^()"]|"(?:[^"\\]|\\.)*")*\))*))$`)
	method      = regexp.MustCompile(`\.([a-z_]+)\(((?:[^()"]|"(?:[^"\\]|\\.)*")*)\)`)
	burnForm    = regexp.MustCompile(`^burn_rate\("([^"]*)"\)\.over\("([^"]*)"\)\.long_window\("([^"]*)"\)\.short_window\("([^"]*)"\)$`)
	budgetForm  = regexp.MustCompile(`^error_budget\("([^"]*)"\)\.over\("([^"]*)"\)$`)
)

// searchTypes are the monitors that count what a search finds: the function in the query, and what it looks at.
var searchTypes = map[string]struct {
	function string
	of       source
}{
	"log alert":               {"logs", logs},
	"event-v2 alert":          {"events", events},
	"llm-observability alert": {"llm-observability", llmSpans},
	"trace-analytics alert":   {"trace-analytics", spans},
}

// condition is the query of a monitor, taken apart.
type condition struct {
	expression, operator string
	threshold            float64
	window               string
}

func (k condition) above() bool { return strings.HasPrefix(k.operator, ">") }

// checkMonitor holds the documented rules of the form of a monitor.
func checkMonitor(c *checker, d *doc) {
	options := d.body.key("options")
	if p, ok := d.body.key("priority").number(); !ok || p < 1 || p > 5 {
		c.bad(d, d.body.key("priority"), "the monitor has no priority from 1 (highest) to 5")
	}
	kind := d.body.key("type").text()
	if kind == "composite" {
		c.composite(d)
		c.renotification(d, options)
		return
	}
	at := d.body.key("query")
	m := comparison.FindStringSubmatch(at.text())
	if m == nil {
		c.bad(d, at, "the query is not an expression, one of > >= < <=, and a number")
		return
	}
	k := condition{expression: m[1], operator: m[2]}
	k.threshold, _ = strconv.ParseFloat(m[3], 64) // The form above lets only numbers pass.
	switch search, ok := searchTypes[kind]; {
	case kind == "query alert" || kind == "metric alert":
		c.metricMonitor(d, at, &k)
	case kind == "slo alert":
		c.sloMonitor(d, at, k)
	case ok:
		c.searchMonitor(d, at, &k, search.function, search.of)
	default:
		c.bad(d, d.body.key("type"), "no rule here knows monitors of type %q", kind)
	}
	c.thresholds(d, options, k)
	c.renotification(d, options)
	c.missingData(d, options, k, kind)
}

// metricMonitor checks aggregator(window):query, and anomalies in it.
func (c *checker) metricMonitor(d *doc, at node, k *condition) {
	m := metricForm.FindStringSubmatch(k.expression)
	if m == nil {
		c.bad(d, at, "a metric monitor's query begins like avg(last_5m): and goes on with a metric query")
		return
	}
	k.window = m[2]
	if _, ok := window(k.window); !ok {
		c.bad(d, at, "the window %s is not between last_1m and last_1w", k.window)
	}
	body := strings.TrimSpace(m[3])
	if !strings.HasPrefix(body, "anomalies(") {
		if q, ok := c.metricQuery(d, at, body, nil); ok {
			if m[1] == "percentile" != q.Percentile() {
				c.bad(d, at, "percentile(…) goes with one percentile such as p95:…, and other functions with everything else")
			}
			c.inUnit(d, at, q, k.threshold)
		}
		if d.body.key("options", "threshold_windows").exists() {
			c.bad(d, d.body.key("options", "threshold_windows"), "threshold_windows are for anomaly monitors only")
		}
		return
	}
	a := anomalyForm.FindStringSubmatch(body)
	if a == nil {
		c.bad(d, at, "the anomaly is not like anomalies(query, 'basic', 3, direction='above', interval=60, alert_window='last_15m')")
		return
	}
	c.metricQuery(d, at, a[1], nil)
	c.anomaly(d, at, k, a[2], a[3], a[4])
}

// anomaly holds the rules of the page "Anomaly Monitor": which arguments there are, and how windows fit each other.
func (c *checker) anomaly(d *doc, at node, k *condition, algorithm, deviations, arguments string) {
	args := map[string]string{}
	for _, m := range argument.FindAllStringSubmatch(arguments, -1) {
		args[m[1]] = m[2]
	}
	oneOf := func(what, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			c.bad(d, at, "%s is %q, not one of %s", what, value, strings.Join(allowed, ", "))
		}
	}
	oneOf("the algorithm of the anomaly", algorithm, "basic", "agile", "robust")
	if n, err := strconv.ParseFloat(deviations, 64); err != nil || n < 1 || n > 6 {
		c.bad(d, at, "the anomaly has %s deviations; 1 to 6 make sense", deviations)
	}
	for name, value := range args {
		switch name {
		case "direction":
			oneOf(name, value, "above", "below", "both")
		case "seasonality":
			oneOf(name, value, "hourly", "daily", "weekly")
			if algorithm == "basic" {
				c.bad(d, at, "the algorithm basic knows no seasonality")
			}
		case "count_default_zero":
			oneOf(name, value, "true", "false")
		case "timezone", "interval", "alert_window":
		default:
			c.bad(d, at, "anomalies() has no argument %s", name)
		}
	}
	if algorithm != "basic" && args["seasonality"] == "" {
		c.bad(d, at, "the algorithm %s needs a seasonality", algorithm)
	}
	alert, ok := window(args["alert_window"])
	if !ok {
		c.bad(d, at, "the anomaly has no alert_window such as 'last_15m'")
		return
	}
	if whole, ok := window(k.window); ok && whole < alert {
		c.bad(d, at, "the window %s of the query is shorter than the alert_window %s", k.window, args["alert_window"])
	}
	interval, err := strconv.Atoi(args["interval"])
	if err != nil || interval <= 0 {
		c.bad(d, at, "the anomaly has no interval in seconds")
	} else if most := alert / 5; time.Duration(interval)*time.Second > most {
		c.bad(d, at, "the interval of %d s is more than a fifth of the alert_window %s, which is %.0f s", interval, args["alert_window"], most.Seconds())
	}
	if k.threshold <= 0 || k.threshold > 1 {
		c.bad(d, at, "the threshold of an anomaly is the share of points that are anomalous, above 0 and up to 1, not %v", k.threshold)
	}
	windows := d.body.key("options", "threshold_windows")
	if got := windows.key("trigger_window"); got.text() != args["alert_window"] {
		c.bad(d, got, "the trigger_window %q is not the alert_window %q of the query", got.text(), args["alert_window"])
	}
	if got := windows.key("recovery_window"); !got.exists() {
		c.bad(d, got, "an anomaly monitor needs a recovery_window too")
	} else if recovery, ok := window(got.text()); !ok {
		c.bad(d, got, "the recovery_window %q is not like last_15m", got.text())
	} else if whole, ok := window(k.window); ok && recovery > whole {
		c.bad(d, got, "the recovery_window %q is longer than the window %s of the query", got.text(), k.window)
	}
}

// searchMonitor checks function("search").method(…)….
func (c *checker) searchMonitor(d *doc, at node, k *condition, function string, of source) {
	m := searchForm.FindStringSubmatch(k.expression)
	if m == nil || m[1] != function {
		c.bad(d, at, `the query of this type is %s("search").rollup("count").last("5m") > number`, function)
		return
	}
	c.search(d, at, unescape(m[2]), of, nil)
	methods := map[string]string{}
	for _, call := range method.FindAllStringSubmatch(m[3], -1) {
		methods[call[1]] = call[2]
		if !slices.Contains([]string{"index", "rollup", "by", "last"}, call[1]) {
			c.bad(d, at, "the query has no method %s()", call[1])
		}
	}
	for _, needed := range []string{"rollup", "last"} {
		if methods[needed] == "" {
			c.bad(d, at, "the query has no %s()", needed)
		}
	}
	for facet := range strings.SplitSeq(strings.Trim(methods["by"], `"`), ",") {
		if facet = strings.TrimSpace(facet); facet != "" {
			c.facet(d, at, facet, of)
		}
	}
	k.window = "last_" + strings.Trim(methods["last"], `"`)
	if _, ok := window(k.window); !ok && methods["last"] != "" {
		c.bad(d, at, "last(%s) is not like last(\"5m\")", methods["last"])
	}
}

func unescape(s string) string { return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(s) }

// sloMonitor checks burn rates and error budgets against their SLO.
func (c *checker) sloMonitor(d *doc, at node, k condition) {
	burn := burnForm.FindStringSubmatch(k.expression)
	budget := budgetForm.FindStringSubmatch(k.expression)
	if burn == nil && budget == nil {
		c.bad(d, at, `the query is neither burn_rate("id").over("30d").long_window("1h").short_window("5m") nor error_budget("id").over("30d")`)
		return
	}
	parts := slices.Concat(burn, budget)
	key, ok := node{v: parts[1]}.refers(assets.SLO)
	if !ok {
		c.bad(d, at, "the id of the SLO is %q, not a reference such as ${slo:latency}", parts[1])
		return
	}
	target := c.find(assets.SLO, key)
	if target == nil {
		return // That the reference leads nowhere was found when the assets were loaded.
	}
	var goal float64
	for _, t := range target.body.key("thresholds").items() {
		if t.key("timeframe").text() == parts[2] {
			goal, _ = t.key("target").number()
		}
	}
	if goal == 0 {
		c.bad(d, at, "over(%q) is no timeframe of %s", parts[2], target.File)
		return
	}
	if burn == nil {
		if k.threshold <= 0 || k.threshold > 100 {
			c.bad(d, at, "the threshold of an error budget is in percent, above 0 and up to 100, not %v", k.threshold)
		}
		return
	}
	if highest := 100 / (100 - goal); k.threshold > highest+1e-9 {
		c.bad(d, at, "a burn rate of %v can't occur: at the target of %s it is at most %s", k.threshold, target.File, round(highest))
	}
	long, longOK := window("last_" + burn[3])
	short, shortOK := window("last_" + burn[4])
	switch {
	case !longOK || !shortOK:
		c.bad(d, at, "the windows %q and %q are not like 1h and 5m", burn[3], burn[4])
	case long < time.Hour || long > 48*time.Hour:
		c.bad(d, at, "the long window %s is not between 1h and 48h", burn[3])
	case short >= long:
		c.bad(d, at, "the short window %s is not shorter than the long one, %s", burn[4], burn[3])
	}
}

// composite checks that a composite monitor is made of references to others, which must not be composites themselves.
func (c *checker) composite(d *doc) {
	at := d.body.key("query")
	rest := at.text()
	refs := 0
	for _, r := range assets.RefsIn(rest) {
		refs++
		rest = strings.ReplaceAll(rest, r.String(), "")
		if r.Kind != string(assets.Monitor) {
			c.bad(d, at, "%s is no monitor", r)
			continue
		}
		if other := c.find(assets.Monitor, r.Name); other != nil && other.body.key("type").text() == "composite" {
			c.bad(d, at, "%s is a composite monitor itself", r)
		}
	}
	if strings.Trim(rest, " &|!()") != "" || refs < 2 {
		c.bad(d, at, "a composite monitor joins at least two references such as ${monitor:latency} by && and ||")
	}
	if th := d.body.key("options", "thresholds"); th.exists() {
		c.bad(d, th, "a composite monitor has no thresholds of its own")
	}
}

// thresholds holds that critical is what the query says, and that the others are on their side of it.
func (c *checker) thresholds(d *doc, options node, k condition) {
	at := options.key("thresholds")
	for _, name := range at.keys() {
		if _, ok := at.key(name).number(); !ok && at.key(name).exists() {
			return // The schema says so.
		}
	}
	critical, ok := at.key("critical").number()
	if !ok || critical != k.threshold {
		c.bad(d, at.key("critical"), "critical must be the threshold of the query, %v", k.threshold)
		return
	}
	before := func(a, b float64) bool { return a < b == k.above() && a != b }
	warning, warned := at.key("warning").number()
	if warned && !before(warning, critical) {
		c.bad(d, at.key("warning"), "the warning at %v does not come before critical at %v", warning, critical)
	}
	if recovery, ok := at.key("critical_recovery").number(); ok && !before(recovery, critical) {
		c.bad(d, at.key("critical_recovery"), "the recovery at %v is on the wrong side of critical at %v", recovery, critical)
	}
	if recovery, ok := at.key("warning_recovery").number(); ok && (!warned || !before(recovery, warning)) {
		c.bad(d, at.key("warning_recovery"), "the recovery at %v has no warning beyond it", recovery)
	}
}

// renotification holds that reminders end, and that there is something to say in them.
func (c *checker) renotification(d *doc, options node) {
	interval, repeats := options.key("renotify_interval").number()
	repeats = repeats && interval > 0
	message := d.body.key("message")
	if !repeats {
		for _, key := range []string{"renotify_occurrences", "renotify_statuses"} {
			if options.key(key).exists() {
				c.bad(d, options.key(key), "it has no effect without a renotify_interval")
			}
		}
		if strings.Contains(message.text(), "{{#is_renotify}}") {
			c.bad(d, message, "the block {{#is_renotify}} is never shown without a renotify_interval")
		}
		return
	}
	if n, ok := options.key("renotify_occurrences").number(); !ok || n < 1 {
		c.bad(d, options.key("renotify_occurrences"), "without a number of occurrences the monitor reminds for ever")
	}
	if len(options.key("renotify_statuses").items()) == 0 {
		c.bad(d, options.key("renotify_statuses"), "without statuses it reminds of missing data too: say of which")
	}
}

// missingData holds the rules of which option goes with which type.
func (c *checker) missingData(d *doc, options node, k condition, kind string) {
	metrics := kind == "query alert" || kind == "metric alert"
	if at := options.key("on_missing_data"); at.exists() && (metrics || kind == "slo alert") {
		c.bad(d, at, "on_missing_data is for logs, events, traces and RUM; metric monitors have notify_no_data")
	}
	at := options.key("notify_no_data")
	switch {
	case at.is() && !metrics:
		c.bad(d, at, "notify_no_data is for metric monitors; this type has on_missing_data")
	case at.is():
		minutes, ok := options.key("no_data_timeframe").number()
		if whole, known := window(k.window); !ok || known && minutes < 2*whole.Minutes() {
			c.bad(d, options.key("no_data_timeframe"), "Datadog recommends at least twice the window for missing data, %.0f minutes", 2*whole.Minutes())
		}
	case options.key("no_data_timeframe").exists():
		c.bad(d, options.key("no_data_timeframe"), "it has no effect while notify_no_data is off")
	}
	if hours, ok := options.key("timeout_h").number(); ok && hours > 24 {
		c.bad(d, options.key("timeout_h"), "Datadog takes at most 24 hours")
	}
}

// window reads last_5m, up to a week. The units are as in Datadog's queries: mo for months is not for monitors of ours.
func window(text string) (time.Duration, bool) {
	digits, ok := strings.CutPrefix(text, "last_")
	if !ok || len(digits) < 2 {
		return 0, false
	}
	unit := map[byte]time.Duration{'m': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[digits[len(digits)-1]]
	n, err := strconv.Atoi(digits[:len(digits)-1])
	whole := time.Duration(n) * unit
	return whole, err == nil && n > 0 && n <= 10080 && whole > 0 && whole <= 7*24*time.Hour
}

func round(x float64) string { return strconv.FormatFloat(math.Round(x*100)/100, 'f', -1, 64) }

// parseMonitor lets the stand-in's evaluator read the monitor: what it refuses can't be executed in tests.
func parseMonitor(c *checker, d *doc) {
	if _, err := monitor.Parse(1, d.full); err != nil {
		path, reason := "", strings.TrimPrefix(err.Error(), "parse monitor 1: ")
		for _, key := range []string{"query", "message", "name", "options"} {
			if rest, ok := strings.CutPrefix(reason, key+": "); ok {
				path, reason = key, rest
			}
		}
		if path == "message" {
			c.bad(d, d.body.key(path), "%s", reason) // A template that can't be read explains what else is wrong with a message.
			return
		}
		c.unless(d, path, reason)
	}
}

// checkMonitorRule holds that a notification rule reaches those it names.
func checkMonitorRule(c *checker, d *doc) {
	attributes := d.body.key("data", "attributes")
	recipients := slices.Concat(attributes.key("recipients").items(), attributes.key("conditional_recipients", "fallback_recipients").items())
	for _, condition := range attributes.key("conditional_recipients", "conditions").items() {
		recipients = append(recipients, condition.key("recipients").items()...)
	}
	if len(recipients) == 0 {
		c.bad(d, attributes, "the rule tells nobody")
	}
	for _, r := range recipients {
		if strings.HasPrefix(r.text(), "@") {
			c.bad(d, r, "recipients are written without @")
			continue
		}
		c.mention(d, r, "@"+r.text())
	}
	if !slices.Contains(attributes.key("filter", "tags").texts(), "service:"+service) && !strings.Contains(attributes.key("filter", "scope").text(), "service:"+service) {
		c.bad(d, attributes.key("filter"), "the rule would take the monitors of other services: filter by service:%s", service)
	}
}
