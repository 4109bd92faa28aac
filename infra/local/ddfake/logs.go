package ddfake

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/intake"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/pipeline"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/scanner"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
)

// keepLogs is how many processed logs are kept, the most recent.
const keepLogs = 5000

// logs are the pipelines, the scanner and the metrics of logs, and what these made of the lines that came in. It is safe
// for concurrent use.
type logs struct {
	mu        sync.Mutex
	pipelines map[string]*pipeline.Pipeline
	// arrived are the identifiers of pipelines as they came, order as they run; one that is not in order runs last.
	arrived, order []string
	metrics        map[string]logMetric
	// groups and rules are those of the scanner, as they came.
	groups, rules []scanner.Document
	scanner       *scanner.Scanner
	recent        []search.Event
}

func newLogs() logs {
	return logs{pipelines: map[string]*pipeline.Pipeline{}, metrics: map[string]logMetric{}, scanner: &scanner.Scanner{}}
}

func (l *logs) putGroup(id string, raw []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.scan(with(l.groups, id, raw), l.rules)
}

func (l *logs) putRule(id string, raw []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.scan(l.groups, with(l.rules, id, raw))
}

// with returns documents with one more, or with another one in its place.
func with(documents []scanner.Document, id string, raw []byte) []scanner.Document {
	return append(without(documents, id), scanner.Document{ID: id, Body: raw})
}

func without(documents []scanner.Document, id string) []scanner.Document {
	return slices.DeleteFunc(slices.Clone(documents), func(d scanner.Document) bool { return d.ID == id })
}

// scan makes the scanner of groups and rules, and keeps them when they are right. The caller holds the lock.
func (l *logs) scan(groups, rules []scanner.Document) error {
	s, err := scanner.Parse(groups, rules)
	if err != nil {
		return err
	}
	l.groups, l.rules, l.scanner = groups, rules, s
	return nil
}

func (l *logs) putPipeline(id string, raw []byte) error {
	p, err := pipeline.Parse(id, raw)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.pipelines[id]; !known {
		l.arrived = append(l.arrived, id)
	}
	l.pipelines[id] = p
	return nil
}

func (l *logs) putOrder(_ string, raw []byte) error {
	var doc struct {
		IDs []string `json:"pipeline_ids"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.order = doc.IDs
	return nil
}

func (l *logs) remove(kind, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch kind {
	case "pipeline":
		delete(l.pipelines, id)
		l.arrived = slices.DeleteFunc(l.arrived, func(other string) bool { return other == id })
	case "logs-metric":
		delete(l.metrics, id)
	case "scanner-rule":
		l.rules = without(l.rules, id)
	case "scanner-group":
		l.groups = without(l.groups, id)
	}
	// A group takes its rules with it, whichever of them is deleted first.
	if s, err := scanner.Parse(l.groups, l.rules); err == nil {
		l.scanner = s
	}
}

// inOrder returns the pipelines as they run. The caller holds the lock.
func (l *logs) inOrder() []*pipeline.Pipeline {
	var out []*pipeline.Pipeline
	for _, id := range append(slices.Clone(l.order), l.arrived...) {
		if p := l.pipelines[id]; p != nil && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// log takes a line of the intake through the pipelines and the scanner, and makes metrics of what comes out.
func (d *Datadog) log(line intake.Log) {
	l := &d.logs
	l.mu.Lock()
	pipelines, metrics, scan := l.inOrder(), maps.Clone(l.metrics), l.scanner
	l.mu.Unlock()
	log, err := pipeline.FromLine(line.Line, line.At)
	if err != nil {
		return // the intake has refused longer lines before
	}
	// The sender's time is the process's, which the clock of the stand-in may leave behind.
	log.Timestamp = line.At
	log, _ = pipeline.Run(pipelines, log)
	log, _ = scan.Apply(log)
	log.Timestamp = line.At
	for _, m := range metrics {
		m.add(d.metrics, log, line.At)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recent = append(l.recent, log)
	if len(l.recent) > keepLogs {
		l.recent = slices.Delete(l.recent, 0, len(l.recent)-keepLogs)
	}
}

// Logs returns the most recent logs as the pipelines made them, oldest first.
func (d *Datadog) Logs() []search.Event {
	d.logs.mu.Lock()
	defer d.logs.mu.Unlock()
	return slices.Clone(d.logs.recent)
}

// logMetric is a metric that is made of logs: the number of those that a search finds, or the values of a facet.
type logMetric struct {
	name   string
	query  search.Query
	facet  string // empty for a count
	groups []logGroup
}

type logGroup struct {
	Path string `json:"path"`
	Tag  string `json:"tag_name"`
}

func (l *logs) putMetric(id string, raw []byte) error {
	var doc struct {
		Data struct {
			ID         string `json:"id"`
			Attributes struct {
				Compute struct {
					Aggregation string `json:"aggregation_type"`
					Path        string `json:"path"`
				} `json:"compute"`
				Filter struct {
					Query string `json:"query"`
				} `json:"filter"`
				Groups []logGroup `json:"group_by"`
			} `json:"attributes"`
		} `json:"data"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return err
	}
	a := doc.Data.Attributes
	if (a.Compute.Aggregation == "distribution") != (a.Compute.Path != "") {
		return fmt.Errorf("aggregation %q with path %q: a distribution has a path, and a count has none", a.Compute.Aggregation, a.Compute.Path)
	}
	q, err := search.Parse(a.Filter.Query)
	if err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.metrics[id] = logMetric{name: cmp.Or(doc.Data.ID, id), query: q, facet: a.Compute.Path, groups: a.Groups}
	return nil
}

// add makes the points of one log.
func (m logMetric) add(to intake.Metrics, log search.Event, at time.Time) {
	if !m.query.Match(log) {
		return
	}
	var tags []string
	for _, g := range m.groups {
		values, ok := log.Facet(g.Path)
		if !ok || len(values) == 0 {
			continue
		}
		tag := g.Tag
		if tag == "" {
			tag = strings.TrimPrefix(g.Path, "@")
		}
		tags = append(tags, tag+":"+values[0])
	}
	if m.facet == "" {
		to.Add(m.name, tags, 1, at)
		return
	}
	for _, v := range search.Values(log.Attributes, strings.TrimPrefix(m.facet, "@")) {
		if n, ok := v.(float64); ok {
			to.Add(m.name, tags, n, at)
		}
	}
}
