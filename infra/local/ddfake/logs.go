package ddfake

import "github.com/llm-reliability/control-plane/infra/local/ddfake/intake"

// logs are the pipelines and scanners, and the logs that they made of the lines that came in.
type logs struct{}

func newLogs() logs { return logs{} }

func (l *logs) putPipeline(string, []byte) error { return nil }
func (l *logs) putOrder(string, []byte) error    { return nil }
func (l *logs) putGroup(string, []byte) error    { return nil }
func (l *logs) putRule(string, []byte) error     { return nil }
func (l *logs) putMetric(string, []byte) error   { return nil }
func (l *logs) remove(string, string)            {}

// log takes a line of the intake through the pipelines and scanners.
func (d *Datadog) log(intake.Log) {}
