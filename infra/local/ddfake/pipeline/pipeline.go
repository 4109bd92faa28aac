// Package pipeline executes Datadog's log pipelines from the very documents that its API takes, and reads log lines the way
// that the intake does before them. It is pure: it stores nothing, has no clock, and knows no other logs.
//
//	what                    as Datadog                                    differs here
//	document                the request body of POST                      unknown keys are refused
//	                        /api/v1/logs/config/pipelines
//	is_enabled              false for a processor that does not say it    and for a pipeline, a guess; Notes say that it is off
//	filter                  of the log as it enters the pipeline          *:text is refused, as the documentation says
//	nested pipelines        hold only processors                          the same
//	date, status, service,  the first that applies to a log counts,       so says the API's description; the documentation's
//	message remappers       over all pipelines                            page on the date remapper says the last one
//	sources                 attributes                                    also service, status, message, host, source, trace_id,
//	                                                                      span_id, where no attribute has the name
//	grok-parser             see package grok; attributes that exist are   a guess
//	                        replaced
//	status-remapper         the documentation's table; "e…" is error,     the API's description says "err…", and nothing of s
//	                        "s…" is ok
//	attribute-remapper      several sources: the first sets the target,   a guess; a source that was not used is kept
//	                        later ones only with override_on_conflict
//	remapping to a tag      in lower case, other characters become _      the rules of tags, without their length
//	string-builder          results have at most 256 characters           longer ones are cut, a guess
//	arithmetic              rounded to 9 decimals; a division by zero     a guess
//	                        is skipped
//	geo-ip-parser           looks the address up                          does nothing, and says so: there is no database
//	lookup-processor        a table in the processor                      reference tables are refused
//	array-processor         select, length, append, key-value             the filter of select is key:value terms without @
//	decoder-processor       base64, base16                                the same
//	exclude-attribute       never a reserved attribute                    such a processor is refused
//	schema-processor,       executed                                      refused
//	array-map-processor
//	numbers                 integers and doubles                          all are float64, as JSON is decoded
//	old and future logs     refused by the intake after 18 and 2 hours    kept
package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/strictjson"
)

// Log is a log, which is searched as it is.
type Log = search.Event

// Note says what did not happen to a log, and why: a processor that is off, a source that is missing.
type Note struct {
	// Pipeline is the id, and Processor the name or else the type and place.
	Pipeline, Processor string
	Text                string
}

// Pipeline is a pipeline that was checked and can run. It is immutable.
type Pipeline struct {
	ID, Name string
	Enabled  bool
	Filter   search.Query

	processors []processor
}

// processor is a processor that was checked.
type processor struct {
	name    string
	enabled bool
	run     func(r *run)
}

// run is the way of one log through pipelines.
type run struct {
	log   Log
	notes []Note
	// done are the remappers that count once, by type.
	done map[string]string
	// where the run is:
	pipeline, processor string
}

func (r *run) note(format string, args ...any) {
	r.notes = append(r.notes, Note{r.pipeline, r.processor, fmt.Sprintf(format, args...)})
}

// once reports whether a remapper of a type may still change the log, and remembers that one did.
func (r *run) once(kind string) bool {
	if by, ok := r.done[kind]; ok {
		r.note("%s was already applied by %s, and only the first one counts", kind, by)
		return false
	}
	r.done[kind] = r.processor
	return true
}

// Process runs the log through the pipeline if it is enabled and its filter matches. The log that is passed does not change.
func (p *Pipeline) Process(log Log) (Log, []Note) { return Run([]*Pipeline{p}, log) }

// Run runs a log through pipelines in their order: through each whose filter matches the log as it then is.
func Run(pipelines []*Pipeline, log Log) (Log, []Note) {
	log.Tags = slices.Clone(log.Tags)
	log.Attributes, _ = clone(log.Attributes).(map[string]any)
	if log.Attributes == nil {
		log.Attributes = map[string]any{}
	}
	r := &run{log: log, done: map[string]string{}}
	for _, p := range pipelines {
		r.pipeline, r.processor = p.ID, ""
		p.run(r)
	}
	return r.log, r.notes
}

func (p *Pipeline) run(r *run) {
	if !p.Filter.Match(r.log) {
		return
	}
	if !p.Enabled {
		r.note("the pipeline is not enabled")
		return
	}
	for _, proc := range p.processors {
		r.processor = proc.name
		if !proc.enabled {
			r.note("the processor is not enabled: is_enabled is false unless it is set")
			continue
		}
		proc.run(r)
	}
}

// clone copies JSON.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		copied := make(map[string]any, len(v))
		for key, inner := range maps.All(v) {
			copied[key] = clone(inner)
		}
		return copied
	case []any:
		copied := make([]any, len(v))
		for i, inner := range v {
			copied[i] = clone(inner)
		}
		return copied
	default:
		return v
	}
}

type filterBody struct {
	Query string `json:"query"`
}

func (f *filterBody) parse() (search.Query, error) {
	if f == nil {
		return search.Query{}, nil
	}
	q, err := search.Parse(f.Query)
	if err != nil {
		return search.Query{}, fmt.Errorf("read filter %q: %w", f.Query, err)
	}
	if q.FullText() {
		return search.Query{}, fmt.Errorf("read filter %q: full-text search is not possible in filters of pipelines", f.Query)
	}
	return q, nil
}

// pipelineBody is the document of a pipeline, of the API or nested.
type pipelineBody struct {
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Enabled     bool              `json:"is_enabled"`
	Tags        []string          `json:"tags"`
	Filter      *filterBody       `json:"filter"`
	Processors  []json.RawMessage `json:"processors"`
	Type        string            `json:"type"`
	// These are the API's own.
	ID       string `json:"id"`
	ReadOnly bool   `json:"is_read_only"`
}

// Parse reads the document of a pipeline.
func Parse(id string, raw []byte) (*Pipeline, error) {
	var body pipelineBody
	if err := strictjson.Decode(raw, &body); err != nil {
		return nil, fmt.Errorf("read pipeline %s: %w", id, err)
	}
	if body.Type != "" && body.Type != "pipeline" {
		return nil, fmt.Errorf("read pipeline %s: its type is %q", id, body.Type)
	}
	if body.Name == "" {
		return nil, fmt.Errorf("read pipeline %s: it has no name", id)
	}
	p, err := body.parse(id, false)
	if err != nil {
		return nil, fmt.Errorf("read pipeline %s: %w", id, err)
	}
	return p, nil
}

func (body *pipelineBody) parse(id string, nested bool) (*Pipeline, error) {
	filter, err := body.Filter.parse()
	if err != nil {
		return nil, err
	}
	p := &Pipeline{ID: id, Name: body.Name, Enabled: body.Enabled, Filter: filter}
	for i, raw := range body.Processors {
		proc, err := parseProcessor(raw, i, nested)
		if err != nil {
			return nil, err
		}
		p.processors = append(p.processors, proc)
	}
	return p, nil
}

func parseProcessor(raw json.RawMessage, index int, nested bool) (processor, error) {
	var head struct {
		Type    string `json:"type"`
		Name    string `json:"name"`
		Enabled bool   `json:"is_enabled"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return processor{}, fmt.Errorf("processors[%d]: %w", index, err)
	}
	name := head.Name
	if name == "" {
		name = fmt.Sprintf("%s[%d]", head.Type, index)
	}
	made, err := build(head.Type, raw, nested)
	if err != nil {
		return processor{}, fmt.Errorf("processors[%d] (%s): %w", index, name, err)
	}
	return processor{name: name, enabled: head.Enabled, run: made}, nil
}

// build makes a processor of its type.
func build(kind string, raw json.RawMessage, nested bool) (func(*run), error) {
	switch kind {
	case "grok-parser":
		return grokParser(raw)
	case "date-remapper", "status-remapper", "service-remapper", "message-remapper", "trace-id-remapper", "span-id-remapper":
		return remapper(kind, raw)
	case "attribute-remapper":
		return attributeRemapper(raw)
	case "url-parser":
		return urlParser(raw)
	case "user-agent-parser":
		return userAgentParser(raw)
	case "geo-ip-parser":
		return geoIPParser(raw)
	case "category-processor":
		return categoryProcessor(raw)
	case "arithmetic-processor":
		return arithmeticProcessor(raw)
	case "string-builder-processor":
		return stringBuilder(raw)
	case "lookup-processor":
		return lookupProcessor(raw)
	case "exclude-attribute":
		return excludeAttribute(raw)
	case "array-processor":
		return arrayProcessor(raw)
	case "decoder-processor":
		return decoderProcessor(raw)
	case "pipeline":
		if nested {
			return nil, errors.New("a nested pipeline holds only processors, no pipeline")
		}
		return nestedPipeline(raw)
	case "schema-processor", "array-map-processor":
		return nil, fmt.Errorf("the processor type %s is not executed here", kind)
	case "":
		return nil, errors.New("the type is missing")
	}
	return nil, fmt.Errorf("there is no processor type %q", kind)
}

func nestedPipeline(raw json.RawMessage) (func(*run), error) {
	var body pipelineBody
	if err := strictjson.Decode(raw, &body); err != nil {
		return nil, err
	}
	p, err := body.parse("", true)
	if err != nil {
		return nil, err
	}
	// Whether it is enabled is judged as for every processor.
	p.Enabled = true
	return func(r *run) {
		outer := r.processor
		before := len(r.notes)
		p.run(r)
		for i := range r.notes[before:] {
			r.notes[before+i].Processor = outer + "/" + r.notes[before+i].Processor
		}
		r.processor = outer
	}, nil
}
