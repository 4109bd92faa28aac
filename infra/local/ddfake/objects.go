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
		"slo": d.putSLO, "monitor": d.putMonitor, "workflow": d.putWorkflow, "connection": d.putConnection,
		"synthetics-test": d.putCheck, "global-variable": d.putVariable,
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

func (d *Datadog) putSLO(id string, raw []byte) error {
	s, err := slo.Parse(id, raw)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slos[id] = s
	return nil
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

func (d *Datadog) putWorkflow(id string, raw []byte) error {
	w, err := workflow.Parse(id, raw)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.workflows[id] = w
	return nil
}

func (d *Datadog) putConnection(id string, raw []byte) error {
	c, err := workflow.ParseConnection(id, raw)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.connections[id] = c
	return nil
}

func (d *Datadog) putCheck(id string, raw []byte) error {
	t, err := synthetics.Parse(id, raw)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.checks.tests[id] = &check{Test: t}
	return nil
}

func (d *Datadog) putVariable(id string, raw []byte) error {
	var doc struct {
		Name  string `json:"name"`
		Value struct {
			Value string `json:"value"`
		} `json:"value"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.checks.values[id] = doc.Value.Value
	return nil
}
