// Package api is the stand-in for Datadog's asset API: an http.Handler with its paths, methods, statuses, shapes and rules,
// in memory. It evaluates nothing; who does hears of every object through a Sink.
package api
