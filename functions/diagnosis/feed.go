package diagnosis

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/llm-reliability/control-plane/shared/llm"
)

// GoogleFeed is the public list of Google Cloud's incidents.
const GoogleFeed = "https://status.cloud.google.com/incidents.json"

// maxFeed bounds what is read of a feed. Google's list of a year is well below a megabyte.
const maxFeed = 8 << 20

// Feed reads incidents in the form of https://status.cloud.google.com/incidents.schema.json, and keeps those that can concern
// calls of Gemini through Vertex AI in one region.
type Feed struct {
	url     string
	region  string
	client  *http.Client
	serving []string
}

// FeedOptions say where incidents are listed, and which concern us.
type FeedOptions struct {
	// URL is the address of the list; GoogleFeed when empty.
	URL string
	// Region is the location that models are called in, such as us-central1 or global; required.
	Region string
	// HTTP makes the call; nil is a client of its own.
	HTTP *http.Client
	// Products are words in the names of the products that concern us; those of Vertex AI that serve models when empty.
	Products []string
}

// NewFeed checks the options and returns a Feed. It reads nothing yet.
func NewFeed(o FeedOptions) (*Feed, error) {
	o.URL = cmp.Or(o.URL, GoogleFeed)
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, errors.New("diagnosis: the feed's URL must be like " + GoogleFeed)
	}
	if o.Region == "" {
		return nil, errors.New("diagnosis: Region is required")
	}
	f := &Feed{url: o.URL, region: strings.ToLower(o.Region), client: o.HTTP}
	if f.client == nil {
		f.client = &http.Client{}
	}
	for _, p := range o.Products {
		f.serving = append(f.serving, strings.ToLower(p))
	}
	if len(f.serving) == 0 {
		// Names as of 2025. Products of Vertex AI that call no model, such as Workbench, do not concern us.
		f.serving = []string{"vertex gemini", "vertex ai online prediction", "generative ai on vertex", "vertex ai model garden"}
	}
	return f, nil
}

// Impact is how bad an incident is, in the feed's words.
type Impact string

// The impacts of incidents, and that of none.
const (
	NoImpact    Impact = "available"
	Information Impact = "service_information"
	Disruption  Impact = "service_disruption"
	Outage      Impact = "service_outage"
)

// impacts are ordered from good to bad.
var impacts = []Impact{NoImpact, Information, Disruption, Outage}

// Incident is an open incident, as far as it is of use here.
type Incident struct {
	ID          string
	Begin       time.Time
	Description string
	Impact      Impact
	Products    []string
	// Locations are the IDs of the regions that are affected now; empty means that the feed does not say.
	Locations []string
}

// ParseFeed reads the open incidents of a feed at a time. It is lenient, because an incident is no time to insist on a schema:
// a field of an unexpected type counts as absent, and an element that is no object is left out. It fails only when nothing can be
// understood.
func ParseFeed(data []byte, now time.Time) ([]Incident, error) {
	var elements []json.RawMessage
	if err := json.Unmarshal(data, &elements); err != nil {
		return nil, errors.New("the feed is no JSON array")
	}
	var open []Incident
	understood := 0
	for _, e := range elements {
		var fields object
		if json.Unmarshal(e, &fields) != nil || fields == nil {
			continue
		}
		understood++
		if i, ok := fields.incident(now); ok {
			open = append(open, i)
		}
	}
	if understood == 0 && len(elements) > 0 {
		return nil, errors.New("the feed holds no incident that can be read")
	}
	return open, nil
}

// object is a JSON object whose members are read one by one.
type object map[string]json.RawMessage

func (o object) text(name string) string {
	var s string
	if json.Unmarshal(o[name], &s) != nil {
		return ""
	}
	return s
}

func (o object) object(name string) object {
	var inner object
	if json.Unmarshal(o[name], &inner) != nil {
		return nil
	}
	return inner
}

// each collects what f makes of the objects of a list.
func (o object) each(name string, f func(object) string) []string {
	var elements []json.RawMessage
	if json.Unmarshal(o[name], &elements) != nil {
		return nil
	}
	var out []string
	for _, e := range elements {
		var inner object
		if json.Unmarshal(e, &inner) != nil {
			continue
		}
		if text := f(inner); text != "" {
			out = append(out, text)
		}
	}
	return out
}

// incident reads one element; ok is false when it is over or has not begun.
func (o object) incident(now time.Time) (Incident, bool) {
	begin, beginErr := time.Parse(time.RFC3339, o.text("begin"))
	end, endErr := time.Parse(time.RFC3339, o.text("end"))
	if o.text("end") != "" && (endErr != nil || !end.After(now)) || beginErr == nil && begin.After(now) {
		return Incident{}, false
	}
	i := Incident{
		ID: clean(cmp.Or(o.text("id"), o.text("number")), 40), Begin: begin.UTC(), Description: clean(o.text("external_desc"), 200),
		Impact:    Impact(strings.ToLower(o.text("status_impact"))),
		Products:  o.each("affected_products", func(p object) string { return strings.TrimSpace(p.text("title") + " " + p.text("current_title")) }),
		Locations: o.each("currently_affected_locations", func(l object) string { return strings.ToLower(l.text("id")) }),
	}
	if i.Products == nil {
		i.Products = []string{o.text("service_name")}
	}
	past := o.each("previously_affected_locations", func(l object) string { return l.text("id") })
	// The last update may say that all is well before the incident is closed; so does an empty list of places after a full one.
	if strings.EqualFold(o.object("most_recent_update").text("status"), string(NoImpact)) || len(i.Locations) == 0 && len(past) > 0 {
		return Incident{}, false
	}
	if !slices.Contains(impacts, i.Impact) {
		i.Impact = Disruption // an open incident of unknown weight
	}
	return i, true
}

// concerns is whether an incident can touch our calls. Where the feed does not say which region is affected, it can.
func (f *Feed) concerns(i Incident) bool {
	product := slices.ContainsFunc(i.Products, func(p string) bool {
		p = strings.ToLower(p)
		return slices.ContainsFunc(f.serving, func(s string) bool { return strings.Contains(p, s) })
	})
	return product && (len(i.Locations) == 0 || slices.Contains(i.Locations, f.region) || slices.Contains(i.Locations, "global"))
}

// probe reads the feed once.
func (f *Feed) probe(ctx context.Context, timeout time.Duration) finding {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	start := time.Now()
	incidents, err := f.open(ctx)
	out := finding{err: err, Evidence: Evidence{Source: "status feed", LatencyMS: ms(time.Since(start))}}
	if err != nil {
		out.verdict, out.Observed, out.Detail = Unknown, "unreadable", "the status feed could not be read"
		if llm.AsError(err).Kind == llm.Timeout {
			out.Detail = "the status feed did not answer in time"
		}
		return out
	}
	incidents = slices.DeleteFunc(incidents, func(i Incident) bool { return !f.concerns(i) })
	if len(incidents) == 0 {
		out.verdict, out.Observed = OK, string(NoImpact)
		out.Detail = "no open incident of the products that serve models in " + f.region
		return out
	}
	worst := slices.MaxFunc(incidents, func(a, b Incident) int {
		return cmp.Or(slices.Index(impacts, a.Impact)-slices.Index(impacts, b.Impact), a.Begin.Compare(b.Begin))
	})
	out.Observed = string(worst.Impact)
	out.Detail = fmt.Sprintf("%d open incidents, the worst: %s since %s: %s", len(incidents), worst.ID, worst.Begin.Format(time.RFC3339), worst.Description)
	out.next = "Follow incident " + worst.ID + " on the provider's status page, and fail over if calls begin to fail."
	switch worst.Impact {
	case Outage:
		out.verdict = Down
	case Disruption:
		out.verdict = Degraded
	default:
		out.verdict = OK // a notice
	}
	return out
}

// open fetches the list and returns what is open now.
func (f *Feed) open(ctx context.Context) ([]Incident, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return nil, fmt.Errorf("read status feed: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read status feed: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxFeed+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read status feed: %w", err)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("read status feed: status %d", resp.StatusCode)
	case len(data) > maxFeed:
		return nil, fmt.Errorf("read status feed: larger than %d bytes", maxFeed)
	}
	incidents, err := ParseFeed(data, time.Now())
	if err != nil {
		return nil, fmt.Errorf("read status feed: %w", err)
	}
	return incidents, nil
}

// clean makes one short line of a text of others. An @ goes, because a workflow may put the text into a message, where Datadog would
// take it for a mention.
func clean(text string, most int) string {
	text = strings.ReplaceAll(text, "@", "")
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return text
}
