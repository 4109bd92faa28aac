package ddfake

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/monitor"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/slo"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/synthetics"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/workflow"
)

// Put takes an asset in the form of Datadog's API, all its references resolved, and executes it from now on. An asset of the
// same kind and id is replaced, and what it remembers begins anew. Kinds that nothing is executed of are taken without a
// look. The error says what is wrong with the asset, as the API would.
func (d *Datadog) Put(kind, id string, body json.RawMessage) error {
	put := map[string]func(string, []byte) error{
		"slo":             keep(d, slo.Parse, func(id string, s *slo.SLO) { d.slos[id] = s }),
		"workflow":        keep(d, workflow.Parse, func(id string, w *workflow.Workflow) { d.workflows[id] = w }),
		"connection":      keep(d, workflow.ParseConnection, func(id string, c *workflow.Connection) { d.connections[id] = c }),
		"synthetics-test": keep(d, synthetics.Parse, func(id string, t *synthetics.Test) { d.checks.tests[id] = &check{Test: t} }),
		"global-variable": keep(d, parseVariable, func(id string, value string) { d.checks.values[id] = value }),
		"monitor":         d.putMonitor,
		"incident":        d.putIncident, "page": d.putPage,
		"pipeline": d.logs.putPipeline, "pipeline-order": d.logs.putOrder, "logs-metric": d.logs.putMetric,
		"scanner-group": d.logs.putGroup, "scanner-rule": d.logs.putRule,
	}[kind]
	if put == nil {
		return nil
	}
	if err := put(id, body); err != nil {
		return fmt.Errorf("%s %s: %w", kind, id, err)
	}
	return nil
}

// Delete forgets an asset. One that is not there is forgotten already.
func (d *Datadog) Delete(kind, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch kind {
	case "slo":
		delete(d.slos, id)
	case "monitor":
		number, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			return fmt.Errorf("monitor %q: the id is no number", id)
		}
		delete(d.monitors, number)
	case "workflow":
		delete(d.workflows, id)
	case "connection":
		delete(d.connections, id)
	case "synthetics-test":
		delete(d.checks.tests, id)
	case "global-variable":
		delete(d.checks.values, id)
	default:
		d.logs.remove(kind, id)
	}
	return nil
}

// keep returns what parses a document and, when it is right, puts it into its place.
func keep[T any](d *Datadog, parse func(id string, raw []byte) (T, error), put func(id string, parsed T)) func(string, []byte) error {
	return func(id string, raw []byte) error {
		parsed, err := parse(id, raw)
		if err != nil {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		put(id, parsed)
		return nil
	}
}

func (d *Datadog) putMonitor(id string, raw []byte) error {
	number, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return fmt.Errorf("the id %q is no number", id)
	}
	m, err := monitor.Parse(number, raw)
	if err != nil {
		return err
	}
	if err := m.Check(d.data()); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.monitors[number] = &watched{Monitor: m}
	return nil
}

// parseVariable returns the value of a global variable.
func parseVariable(_ string, raw []byte) (string, error) {
	var doc struct {
		Value struct {
			Value string `json:"value"`
		} `json:"value"`
	}
	err := json.Unmarshal(raw, &doc)
	return doc.Value.Value, err
}
