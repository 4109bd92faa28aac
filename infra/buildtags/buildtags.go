// Package buildtags says what a deployment's binaries are built without. The SDKs of models and clouds are most of a binary, of
// its memory and of its cold start, whether they are called or not; a deployment knows its cloud and its route of models. The
// tags that leave something out begin with without_, and what they mean is said where they are used, in functions/wire and
// shared/serverless. A build without any of them runs everywhere, as this machine's does.
package buildtags

import (
	"slices"
	"strings"
)

// always is the tag of every deployed binary: it leaves out what Lambda's runtime client has for a runtime that is gone.
const always = "lambda.norpc"

// DefaultRoute is the route of models of a function that is told of none.
const DefaultRoute = "vertexai,genai"

// calling are the functions that call models. The others have no provider that could be left out, and the same tags whatever the
// route is, so that another route is no other binary of theirs.
var calling = map[string]bool{"completion": true, "diagnosis": true, "qa": true}

// Lambda returns the tags, in order, of a function on AWS Lambda in a deployment whose route of models is the given one, as
// LRCP_PROVIDER lists it; empty is DefaultRoute.
func Lambda(function, route string) []string {
	return append([]string{always, "without_firestore", "without_framework"}, models(function, route)...)
}

// CloudRun is Lambda for Cloud Run.
func CloudRun(function, route string) []string {
	return append([]string{always, "without_dynamodb", "without_lambda"}, models(function, route)...)
}

// models returns the tags that leave out the providers that a route does not name.
func models(function, route string) []string {
	if !calling[function] {
		return nil
	}
	if strings.TrimSpace(route) == "" {
		route = DefaultRoute
	}
	var named []string
	for provider := range strings.SplitSeq(route, ",") {
		named = append(named, strings.TrimSpace(provider))
	}
	var tags []string
	if !slices.Contains(named, "vertexai") && !slices.Contains(named, "genai") {
		tags = append(tags, "without_gemini")
	}
	if !slices.Contains(named, "openai") {
		tags = append(tags, "without_openai")
	}
	return tags
}
