package check

// The lists that a test holds against the code.
var (
	LogAttributes = logAttributes
	SpanTags      = spanTags
)
