package datadog

// AwaitStop waits until the SDK has stopped, which may be after Close: what stops late would stop the tracer of the next test.
func (s *Sink) AwaitStop() { s.stopping.Wait() }

// Occurrences is how the transport counts the items of a batch.
var Occurrences = occurrences
