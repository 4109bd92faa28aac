package check

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/pipeline"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/pipeline/grok"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/scanner"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
)

// eachProcessor calls f with every processor, those of nested pipelines included.
func eachProcessor(list node, f func(node)) {
	for _, p := range list.items() {
		f(p)
		eachProcessor(p.key("processors"), f)
	}
}

var (
	// capture is an attribute that a grok rule fills: %{matcher("argument"):attribute:filter}.
	capture = regexp.MustCompile(`%\{[A-Za-z]+(?:\((?:[^()"]|"(?:[^"\\]|\\.)*")*\))?:([A-Za-z_@][A-Za-z0-9_.@-]*)`)
	// inTemplate is an attribute in the template of a string builder.
	inTemplate = regexp.MustCompile(`%\{([^{}]+)\}`)
	// inExpression is an attribute in an arithmetic expression.
	inExpression = regexp.MustCompile(`[A-Za-z_@][A-Za-z0-9_.@-]*`)
)

// makes returns the facets that a processor adds to a log. A parser that fills an object adds its name with .* at the end.
func makes(p node) []string {
	target := p.key("target").text()
	switch p.key("type").text() {
	case "grok-parser":
		var out []string
		for _, m := range capture.FindAllStringSubmatch(p.key("grok", "match_rules").text()+"\n"+p.key("grok", "support_rules").text(), -1) {
			out = append(out, "@"+m[1])
		}
		return out
	case "url-parser", "user-agent-parser", "geo-ip-parser":
		return []string{"@" + target, "@" + target + ".*"}
	case "attribute-remapper":
		if p.key("target_type").text() == "tag" {
			return []string{target}
		}
		return []string{"@" + target}
	case "array-processor":
		return []string{"@" + p.key("operation", "target").text()}
	case "category-processor", "arithmetic-processor", "string-builder-processor", "lookup-processor", "decoder-processor":
		return []string{"@" + target}
	}
	return nil
}

// reads returns the attributes that a processor looks at, each with where it says so.
func reads(p node) []node {
	var out []node
	add := func(at node, name string) { out = append(out, node{name, at.path}) }
	for _, s := range p.key("sources").items() {
		add(s, s.text())
	}
	if at := p.key("source"); at.isText() {
		add(at, at.text())
	}
	for _, m := range inTemplate.FindAllStringSubmatch(p.key("template").text(), -1) {
		add(p.key("template"), m[1])
	}
	for _, m := range inExpression.FindAllString(p.key("expression").text(), -1) {
		add(p.key("expression"), m)
	}
	return out
}

// checkPipeline holds that every processor is on and named, and that what it reads exists.
func checkPipeline(c *checker, d *doc) {
	if at := d.body.key("is_enabled"); !at.is() {
		c.bad(d, at, "the pipeline is off; that is also what leaving it out means")
	}
	c.filter(d, d.body.key("filter", "query"))
	if len(d.body.key("processors").items()) == 0 {
		c.bad(d, d.body.key("processors"), "the pipeline does nothing")
	}
	seen := map[string]bool{}
	eachProcessor(d.body.key("processors"), func(p node) {
		if at := p.key("is_enabled"); !at.is() {
			c.bad(d, at, "the processor is off; that is also what leaving it out means")
		}
		name := p.key("name")
		if name.text() == "" || seen[name.text()] {
			c.bad(d, name, "the processor has no name of its own")
		}
		seen[name.text()] = true
		c.processor(d, p)
	})
}

func (c *checker) processor(d *doc, p node) {
	for _, at := range reads(p) {
		name := at.text()
		if plain := reservedLogField(name); !plain && !c.facets[logs]["@"+name] && !under(c.facets[logs], "@"+name) {
			c.bad(d, node{path: at.path}, "nothing writes the attribute %s: neither the telemetry nor a pipeline", name)
		}
	}
	switch p.key("type").text() {
	case "grok-parser":
		if p.key("grok", "match_rules").text() == "" {
			c.bad(d, p.key("grok", "match_rules"), "the parser has no rule")
		}
		if n := len(p.key("samples").items()); n == 0 || n > 5 {
			c.bad(d, p.key("samples"), "a parser has 1 to 5 samples, not %d", n)
		}
		c.samples(d, p)
	case "category-processor":
		names := map[string]bool{}
		for _, category := range p.key("categories").items() {
			if at := category.key("name"); names[at.text()] {
				c.bad(d, at, "there are two categories %q", at.text())
			}
			names[category.key("name").text()] = true
			c.filter(d, category.key("filter", "query"))
		}
	case "lookup-processor":
		for _, row := range p.key("lookup_table").items() {
			if strings.Count(row.text(), ",") != 1 {
				c.bad(d, row, "a row is key,value")
			}
		}
	case "pipeline":
		c.filter(d, p.key("filter", "query"))
		for _, inner := range p.key("processors").items() {
			if inner.key("type").text() == "pipeline" {
				c.bad(d, inner, "pipelines nest one level deep")
			}
		}
	}
}

// samples holds that the rules of a grok parser can be read, and that each of its samples matches one.
func (c *checker) samples(d *doc, p node) {
	rules, err := grok.Parse(p.key("grok", "match_rules").text(), p.key("grok", "support_rules").text())
	if err != nil {
		c.bad(d, p.key("grok", "match_rules"), "%v", err)
		return
	}
	for _, sample := range p.key("samples").items() {
		if _, _, ok := rules.Match(sample.text(), time.Unix(0, 0)); !ok {
			c.bad(d, sample, "no rule of the parser matches this sample")
		}
	}
}

var inProcessor = regexp.MustCompile(`^(?s:processors\[([0-9]+)\](?: \([^)]*\))?: (.*))$`)

// parsePipeline lets the stand-in's evaluator read the pipeline.
func parsePipeline(c *checker, d *doc) {
	_, err := pipeline.Parse(d.Key, d.full)
	if err == nil {
		return
	}
	for _, reason := range reasons(err) {
		at := d.body
		reason = strings.TrimPrefix(reason, "read pipeline "+d.Key+": ")
		for m := inProcessor.FindStringSubmatch(reason); m != nil; m = inProcessor.FindStringSubmatch(reason) {
			i, _ := strconv.Atoi(m[1]) // The form lets only digits pass.
			at, reason = at.key("processors").index(i), m[2]
		}
		c.unless(d, at.path, reason)
	}
}

// reservedLogField reports whether a name is a field that every log has.
func reservedLogField(name string) bool {
	return slices.Contains([]string{"message", "status", "service", "host", "timestamp", "date", "ddsource", "ddtags", "trace_id", "span_id"}, name)
}

// filter holds that a search selects logs of ours, and is one that filters may use.
func (c *checker) filter(d *doc, at node) {
	c.search(d, at, at.text(), logs, nil)
	if q, err := search.Parse(at.text()); err == nil && q.FullText() {
		c.bad(d, at, "Datadog takes no search of all attributes (*:text) in a filter")
	}
}

// selects holds that a filter takes only what is ours.
func (c *checker) selects(d *doc, at node) {
	if !strings.Contains(at.text(), "service:"+service) {
		c.bad(d, at, "the filter takes what other services send: begin it with service:%s", service)
	}
}

// checkScannerGroup holds that the scanner is on and looks at everything of ours.
func checkScannerGroup(c *checker, d *doc) {
	attributes := d.body.key("data", "attributes")
	if at := attributes.key("is_enabled"); !at.is() {
		c.bad(d, at, "the group is off, so nothing is redacted")
	}
	c.filter(d, attributes.key("filter", "query"))
	c.selects(d, attributes.key("filter", "query"))
	products := attributes.key("product_list").texts()
	if len(products) == 0 {
		c.bad(d, attributes.key("product_list"), "the group scans no product")
	}
	for _, s := range attributes.key("samplings").items() {
		if rate, ok := s.key("rate").number(); !ok || rate != 100 {
			c.bad(d, s.key("rate"), "what is not scanned is not redacted: the rate must be 100")
		}
		if !slices.Contains(products, s.key("product").text()) {
			c.bad(d, s.key("product"), "the product %q is not in the product list", s.key("product").text())
		}
	}
	if len(d.body.key("data", "relationships", "rules", "data").items()) > 0 {
		c.bad(d, d.body.key("data", "relationships", "rules"), "rules name their group, not the other way round")
	}
	if r, ok := d.body.key("data", "relationships", "configuration", "data", "id").ref(); !ok || r.Kind != assets.ScannerConfiguration {
		c.bad(d, d.body.key("data", "relationships", "configuration", "data", "id"), "the configuration is the organisation's: write ${scanner-configuration:id}")
	}
}

// checkScannerRule holds that a rule is on, can be read, and truly replaces what it finds.
func checkScannerRule(c *checker, d *doc) {
	attributes := d.body.key("data", "attributes")
	if at := attributes.key("is_enabled"); !at.is() {
		c.bad(d, at, "the rule is off, so it redacts nothing")
	}
	if at := attributes.key("pattern"); at.exists() {
		switch re, err := scanner.Compile(at.text()); {
		case err != nil:
			c.bad(d, at, "the pattern can't be read: %v", err)
		case re.MatchString(""):
			c.bad(d, at, "the pattern matches the empty text")
		}
	} else if !d.body.key("data", "relationships", "standard_pattern").exists() {
		c.bad(d, at, "the rule has neither a pattern nor a standard pattern")
	}
	replacement := attributes.key("text_replacement")
	switch kind := replacement.key("type").text(); {
	case kind == "" || kind == "none":
		c.bad(d, replacement.key("type"), "the rule only tags what it finds, and leaves it as it is: say how it is replaced")
	case kind == "replacement_string" && replacement.key("replacement_string").text() == "":
		c.bad(d, replacement.key("replacement_string"), "there is nothing to replace the match with")
	}
	if at := replacement.key("should_save_match"); at.is() {
		c.bad(d, at, "the match would be kept, for everybody with the permission to see it")
	}
	if p, ok := attributes.key("priority").number(); ok && (p < 1 || p > 5) {
		c.bad(d, attributes.key("priority"), "the priority is from 1 (highest) to 5, not %v", p)
	}
	for _, name := range attributes.key("namespaces").texts() {
		if slices.Contains(attributes.key("excluded_namespaces").texts(), name) {
			c.bad(d, attributes.key("namespaces"), "%s is included and excluded", name)
		}
	}
	c.refer(d, d.body.key("data", "relationships", "group", "data", "id"), assets.ScannerGroup)
}

// checkArchive holds that an archive is complete, and that the store is the organisation's.
func checkArchive(c *checker, d *doc) {
	attributes := d.body.key("data", "attributes")
	c.filter(d, attributes.key("query"))
	c.selects(d, attributes.key("query"))
	if at := attributes.key("include_tags"); !at.is() {
		c.bad(d, at, "the tags of logs are not kept; that is also what leaving it out means")
	}
	destination := attributes.key("destination")
	for key, name := range map[string]string{"bucket": "archive_bucket", "container": "archive_container"} {
		if at := destination.key(key); at.exists() {
			c.setting(d, at, name)
		}
	}
	for _, key := range destination.key("integration").keys() {
		c.setting(d, destination.key("integration", key), key)
	}
	if !kept.MatchString(attributes.key("name").text()) {
		c.bad(d, attributes.key("name"), "the name does not say for how long logs are kept, as in: LLM error logs (90 days)")
	}
}

var kept = regexp.MustCompile(`\(([0-9]+) days\)`)

// checkOrders holds that an order lists every asset of ours, each once.
func checkOrders(c *checker) {
	c.order(assets.Pipeline, assets.PipelineOrder, "pipeline_ids")
	c.order(assets.Archive, assets.ArchiveOrder, "data", "attributes", "archive_ids")
}

func (c *checker) order(kind, order assets.Kind, keys ...string) {
	for _, d := range c.of(order) {
		at := d.body.key(keys...)
		listed := map[string]bool{}
		for _, item := range at.items() {
			key, ok := item.refers(kind)
			if !ok {
				c.bad(d, item, "%q is no reference to a %s such as ${%s:name}", item.text(), kind, kind)
			}
			if listed[key] {
				c.bad(d, item, "%s is listed twice", item.text())
			}
			listed[key] = true
		}
		for _, one := range c.of(kind) {
			if !listed[one.Key] {
				listed[one.Key] = true
				c.bad(d, at, "the order leaves out ${%s:%s}", kind, one.Key)
			}
		}
	}
	if len(c.of(kind)) > 0 && len(c.of(order)) != 1 {
		c.problems = append(c.problems, Problem{File: order.Folder(), Reason: fmt.Sprintf("there are %d orders of kind %s; one is needed", len(c.of(order)), order)})
	}
}

// checkArchives holds what several files must agree on: that no archive takes the logs of a later one, that all forms of an
// archive are one archive, and that the store's lifecycle keeps each as long as its name says.
func checkArchives(c *checker) {
	for _, d := range c.of(assets.ArchiveOrder) {
		items := d.body.key("data", "attributes", "archive_ids").items()
		for i, item := range items {
			for _, before := range items[:i] {
				a, b := c.referred(before, assets.Archive), c.referred(item, assets.Archive)
				if a == nil || b == nil || a == b {
					continue
				}
				if wide, narrow := query(a), query(b); strings.HasPrefix(narrow, wide) {
					c.bad(d, item, "%s comes first and takes all of its logs, since an archive takes what none before it took", before.text())
				}
			}
		}
	}
	for _, d := range c.of(assets.Archive) {
		first := c.find(assets.Archive, d.Key)
		for _, key := range []string{"name", "query"} {
			if at := d.body.key("data", "attributes", key); at.text() != first.body.key("data", "attributes", key).text() {
				c.bad(d, at, "it differs from that of %s, which is the same archive", first.File)
			}
		}
		c.lifecycle(d)
	}
}

func query(d *doc) string { return d.body.key("data", "attributes", "query").text() }

func (c *checker) referred(at node, kind assets.Kind) *doc {
	key, ok := at.refers(kind)
	if !ok {
		return nil
	}
	return c.find(kind, key)
}

// lifecycle holds that the bucket's lifecycle deletes the objects of an archive after the days that its name promises, and
// not before.
func (c *checker) lifecycle(d *doc) {
	promised := kept.FindStringSubmatch(d.body.key("data", "attributes", "name").text())
	if promised == nil {
		return // checkArchive says so.
	}
	days, _ := strconv.ParseFloat(promised[1], 64) // The form lets only digits pass.
	destination := d.body.key("data", "attributes", "destination")
	prefix := strings.Trim(destination.key("path").text(), "/") + "/"
	file := path.Join("logs/lifecycle", destination.key("type").text()+".json")
	raw, err := fs.ReadFile(c.o.FS, file)
	if err != nil {
		c.bad(d, destination, "nothing deletes its objects after %v days: there is no %s", days, file)
		return
	}
	v, err := decode(raw)
	if err != nil {
		c.problems = append(c.problems, Problem{File: file, Reason: err.Error()})
		return
	}
	exact := false
	for _, rule := range expirations(node{v: v}) {
		switch {
		case !strings.HasPrefix(prefix, rule.prefix):
		case rule.days == days && rule.prefix == prefix:
			exact = true
		case rule.days < days:
			c.problems = append(c.problems, Problem{file, rule.at.path, fmt.Sprintf("%s promises %v days for %s, and this deletes after %v", d.File, days, prefix, rule.days)})
		}
	}
	if !exact {
		c.problems = append(c.problems, Problem{file, "", fmt.Sprintf("no enabled rule deletes %s after the %v days that %s promises", prefix, days, d.File)})
	}
}

type expiration struct {
	prefix string
	days   float64
	at     node
}

// expirations reads the lifecycle of a bucket, in the form of S3 or of Cloud Storage.
func expirations(body node) []expiration {
	var out []expiration
	for _, rule := range body.key("Rules").items() {
		if days, ok := rule.key("Expiration", "Days").number(); ok && rule.key("Status").text() == "Enabled" {
			out = append(out, expiration{rule.key("Filter", "Prefix").text(), days, rule.key("Expiration", "Days")})
		}
	}
	for _, rule := range body.key("rule").items() {
		days, ok := rule.key("condition", "age").number()
		if !ok || rule.key("action", "type").text() != "Delete" {
			continue
		}
		for _, prefix := range rule.key("condition", "matchesPrefix").texts() {
			out = append(out, expiration{prefix, days, rule.key("condition", "age")})
		}
	}
	return out
}
