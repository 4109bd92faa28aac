// Package check says what is wrong with the assets of the folder datadog: with their form, by Datadog's OpenAPI description,
// and with their meaning, by what the rest of the repository knows. It is pure: it reads files, calls nothing, and changes
// nothing. It finds all problems at once, each with file, path and reason.
//
// A rule is one small function, in the file of its topic. Each rule holds what Datadog documents or what this project
// promises; a rule that is a guess about Datadog says so.
//
//	file            rules
//	form.go         schema, placeholders, names, marks of ownership
//	metrics.go      metric queries: metric, tags, values, percentiles, units
//	searches.go     searches of logs, spans, LLM spans and events: syntax, facets
//	monitors.go     queries, thresholds, windows, renotification, missing data
//	mentions.go     who is mentioned, on which transition, with which parameters
//	workflows.go    steps, edges, actions, expressions, connections, what calls promise
//	urls.go         every URL of a function is a route of it
//	objectives.go   SLOs
//	synthetics.go   API tests and their variables
//	oncall.go       teams, schedules, policies, routing, notification rules, incidents
//	logs.go         pipelines, scanner, archives, orders, lifecycle
//	dashboards.go   layouts, queries, variables of dashboards and notebooks
//	others.go       spans and logs metrics, retention filters, software catalog, RUM
//	documents.go    playbooks, and tests that cover what must be covered
//
// What is not checked: whether an organisation has the integrations, roles and contract that an asset needs, and whether
// Datadog's functions and widgets that the stand-in does not evaluate mean something.
package check

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/functions/routes"
	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/schema"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// Options are what the assets are checked against.
type Options struct {
	// FS is the folder datadog; required.
	FS fs.FS
	// Assets are those to check; when nil, those in FS and those that follow from the catalogue.
	Assets []assets.Asset
	// Description is Datadog's OpenAPI description; when nil, Run loads it, and All checks no schemas.
	Description *schema.Description
	// Catalogue are the metrics that exist; telemetry.Catalogue when nil.
	Catalogue []telemetry.Metric
	// Routes are what the functions serve; routes.All when nil.
	Routes []routes.Route
}

// Problem is one thing that is wrong.
type Problem struct {
	// File is the path in the folder, or what the asset was generated from.
	File string `json:"file"`
	// Path leads to the value in the file, such as options.thresholds.critical; empty for the whole file.
	Path   string `json:"path,omitempty"`
	Reason string `json:"reason"`
}

// String returns the problem as one line.
func (p Problem) String() string {
	if p.Path == "" {
		return p.File + ": " + p.Reason
	}
	return p.File + ": " + p.Path + ": " + p.Reason
}

// Report is the outcome of Run.
type Report struct {
	// Assets counts what was checked, by kind.
	Assets   map[assets.Kind]int `json:"assets"`
	Problems []Problem           `json:"problems"`
}

// OK reports whether nothing is wrong.
func (r Report) OK() bool { return len(r.Problems) == 0 }

// WriteText writes the report for people: the problems by file, and a line that sums up.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	file := ""
	for _, p := range r.Problems {
		if p.File != file {
			file = p.File
			b.WriteString(file + "\n")
		}
		b.WriteString("  " + cmp.Or(p.Path, "(file)") + ": " + p.Reason + "\n")
	}
	total, files := 0, map[string]bool{}
	for _, n := range r.Assets {
		total += n
	}
	for _, p := range r.Problems {
		files[p.File] = true
	}
	if r.OK() {
		fmt.Fprintf(&b, "%d assets of %d kinds are valid.\n", total, len(r.Assets))
	} else {
		fmt.Fprintf(&b, "%d problems in %d files; %d assets of %d kinds were checked.\n", len(r.Problems), len(files), total, len(r.Assets))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// WriteJSON writes the report for programs.
func (r Report) WriteJSON(w io.Writer) error {
	if r.Problems == nil {
		r.Problems = []Problem{}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// Run checks everything and returns the report. It fails only when the check itself can't be done; problems of assets are
// in the report.
func Run(ctx context.Context, o Options) (Report, error) {
	if o.FS == nil {
		return Report{}, errors.New("check assets: no folder was given")
	}
	if o.Description == nil {
		d, err := schema.Load(ctx, schema.Options{})
		if err != nil {
			return Report{}, fmt.Errorf("check assets: %w", err)
		}
		o.Description = d
	}
	c := newChecker(o)
	r := Report{Assets: map[assets.Kind]int{}, Problems: c.run()}
	for _, d := range c.docs {
		r.Assets[d.Kind]++
	}
	return r, nil
}

// All returns every problem, sorted by file and path.
func All(o Options) []Problem { return newChecker(o).run() }

// checker holds the assets while they are checked.
type checker struct {
	o        Options
	docs     []*doc
	metrics  map[string]metricInfo
	facets   map[source]map[string]bool
	problems []Problem
}

// doc is one asset, decoded.
type doc struct {
	assets.Asset
	// body has the placeholders; full, the body as the stand-in's evaluators take it, has sample values in their place.
	body node
	full []byte
	// texts are all texts of the body, which many rules look through.
	texts []node
}

func newChecker(o Options) *checker {
	if o.Catalogue == nil {
		o.Catalogue = telemetry.Catalogue()
	}
	if o.Routes == nil {
		o.Routes = routes.All()
	}
	c := &checker{o: o}
	if o.Assets == nil {
		loaded, err := assets.Load(o.FS)
		c.loadProblems(err)
		o.Assets = slices.Concat(loaded, assets.Metrics(o.Catalogue))
	}
	for _, a := range o.Assets {
		v, err := decode(a.Body)
		if err != nil {
			c.problems = append(c.problems, Problem{File: a.File, Reason: err.Error()})
			continue
		}
		full, err := assets.Resolve(a, assets.Sample)
		if err != nil {
			c.problems = append(c.problems, Problem{File: a.File, Reason: err.Error()})
			continue
		}
		d := &doc{Asset: a, body: node{v: v}, full: full}
		d.body.each(func(at node) { d.texts = append(d.texts, at) })
		c.docs = append(c.docs, d)
	}
	c.metrics = c.knownMetrics()
	c.facets = c.knownFacets()
	return c
}

// loadProblems takes the error of assets.Load apart: each part begins with the file.
func (c *checker) loadProblems(err error) {
	if err == nil {
		return
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, e := range joined.Unwrap() {
			c.loadProblems(e)
		}
		return
	}
	file, reason, ok := strings.Cut(err.Error(), ": ")
	if strings.HasPrefix(reason, "${") && (strings.HasSuffix(reason, "names no asset file") || strings.HasSuffix(reason, "is of no known kind")) {
		return // checkPlaceholders says so too, and where.
	}
	if !ok {
		file, reason = ".", err.Error()
	}
	c.problems = append(c.problems, Problem{File: file, Reason: reason})
}

// run applies every rule.
func (c *checker) run() []Problem {
	for _, d := range c.docs {
		for _, r := range formRules {
			r(c, d)
		}
		for _, r := range kindRules[d.Kind] {
			r(c, d)
		}
	}
	for _, r := range folderRules {
		r(c)
	}
	// The evaluators of the stand-in come last: what they refuse is reported where no rule has said it better.
	for _, d := range c.docs {
		if r := parsers[d.Kind]; r != nil {
			r(c, d)
		}
	}
	slices.SortFunc(c.problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), strings.Compare(a.Path, b.Path), strings.Compare(a.Reason, b.Reason))
	})
	return slices.Compact(c.problems)
}

// The rules. Each is for every asset, for one kind, or for the folder as a whole.
var (
	formRules = []func(*checker, *doc){checkSchema, checkPlaceholders, checkOwnership, checkURLs, checkReferences}
	kindRules = map[assets.Kind][]func(*checker, *doc){
		assets.MetricMetadata:      {checkUnit},
		assets.SpansMetric:         {checkSpansMetric},
		assets.LogsMetric:          {checkLogsMetric},
		assets.RetentionFilter:     {checkRetentionFilter},
		assets.Team:                {checkTeam},
		assets.Entity:              {checkEntity},
		assets.ScannerGroup:        {checkScannerGroup},
		assets.ScannerRule:         {checkScannerRule},
		assets.Pipeline:            {checkPipeline},
		assets.Archive:             {checkArchive},
		assets.Connection:          {checkConnection},
		assets.WebhookVariable:     {checkWebhookVariable},
		assets.Webhook:             {checkWebhook},
		assets.GlobalVariable:      {checkGlobalVariable},
		assets.Workflow:            {checkWorkflow},
		assets.SLO:                 {checkSLO},
		assets.IncidentHandle:      {checkIncidentHandle},
		assets.IncidentRule:        {checkIncidentRule},
		assets.Schedule:            {checkSchedule},
		assets.EscalationPolicy:    {checkPolicy},
		assets.RoutingRules:        {checkRouting},
		assets.NotificationChannel: {checkChannel},
		assets.NotificationRule:    {checkNotificationRule},
		assets.Monitor:             {checkMonitor, checkMessage},
		assets.MonitorRule:         {checkMonitorRule},
		assets.SyntheticsTest:      {checkSyntheticsTest, checkSyntheticsMessage},
		assets.Dashboard:           {checkDashboard},
		assets.Notebook:            {checkNotebook},
		assets.RUMApplication:      {checkRUM},
	}
	folderRules = []func(*checker){checkNames, checkOrders, checkArchives, checkUse, checkRoutes, checkPlaybooks, checkCovered}
	parsers     = map[assets.Kind]func(*checker, *doc){
		assets.Monitor:        parseMonitor,
		assets.SLO:            parseSLO,
		assets.Workflow:       parseWorkflow,
		assets.SyntheticsTest: parseSynthetics,
		assets.Pipeline:       parsePipeline,
	}
)

// bad reports a problem of an asset.
func (c *checker) bad(d *doc, at node, format string, args ...any) {
	c.problems = append(c.problems, Problem{File: d.File, Path: at.path, Reason: fmt.Sprintf(format, args...)})
}

// unless reports a problem of an asset, unless one is known at its path, above it or below it. Problems of the whole file,
// such as that no test covers it, say nothing about what is in it.
func (c *checker) unless(d *doc, path, reason string) {
	for _, p := range c.problems {
		if p.File == d.File && p.Path != "" && (strings.HasPrefix(p.Path, path) || strings.HasPrefix(path, p.Path)) {
			return
		}
	}
	c.problems = append(c.problems, Problem{File: d.File, Path: path, Reason: reason})
}

// of returns the assets of a kind.
func (c *checker) of(kind assets.Kind) []*doc {
	var out []*doc
	for _, d := range c.docs {
		if d.Kind == kind {
			out = append(out, d)
		}
	}
	return out
}

// find returns the asset with a kind and key, or nil.
func (c *checker) find(kind assets.Kind, key string) *doc {
	for _, d := range c.docs {
		if d.Kind == kind && d.Key == key {
			return d
		}
	}
	return nil
}

// with returns the asset of a kind that has a text at a path, or nil.
func (c *checker) with(kind assets.Kind, text string, path ...string) *doc {
	for _, d := range c.of(kind) {
		if text != "" && d.body.key(path...).text() == text {
			return d
		}
	}
	return nil
}

func decode(body []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("not valid JSON: there is text after it")
	}
	return v, nil
}
