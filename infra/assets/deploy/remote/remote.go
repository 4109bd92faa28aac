// Package remote is what the kinds of assets are at Datadog: where objects are listed, found, made, changed and deleted, how
// one says whose it is, and how the answers differ from the bodies that make an object. It decides nothing.
//
// Where Datadog's API leaves something open, this package assumes:
//
//	incident handles      DELETE names no handle, so none is deleted
//	routing rules         an empty list takes a team's rules away
//	connections           a header, parameter or token that an update does not name stays, and goes with "deleted"
//	escalation policies   there is no list: one is found through the routing rules of its teams, once they lead to it
//	SLOs, dashboards      type and layout can't be changed, as other tools that manage them have it
//	a new metric          it is known some seconds after its first point
//	PATCH                 what a body no longer names keeps its value
package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/deploy/diff"
	"github.com/llm-reliability/control-plane/shared/ddapi"
)

// Object is one object at Datadog.
type Object struct {
	// ID names it in paths; Scope is the user whose object it is, for the kinds that are per user.
	ID, Scope string
	// Name is its identity, as Name returns it.
	Name string
	// Mark is the key of the asset that it says it is, or "".
	Mark string
	// Body is the object in the shape of the body that makes it, and nil where a list does not show all of it.
	Body any
}

// ErrNoList is the error of Find for a kind that Datadog neither lists nor finds by name.
var ErrNoList = errors.New("there is no list of them at Datadog")

// Client reads and writes objects.
type Client struct {
	api  *ddapi.Client
	hide func(string) string
}

// New returns a Client. hide takes secrets out of what Datadog says in errors.
func New(api *ddapi.Client, hide func(string) string) *Client { return &Client{api, hide} }

func (c *Client) do(ctx context.Context, api *ddapi.Client, method, path string, query url.Values, in, out any) error {
	return c.hidden(api.Do(ctx, method, path, query, in, out))
}

func (c *Client) hidden(err error) error {
	if e, ok := errors.AsType[*ddapi.Error](err); ok {
		for i := range e.Errors {
			e.Errors[i] = c.hide(e.Errors[i])
		}
	}
	return err
}

// Name returns the identity of the object that a body makes. It holds placeholders where the body does.
func Name(kind assets.Kind, key string, body any) string {
	r := rowOf(kind)
	if r.own && r.name == nil {
		return key
	}
	parts := make([]string, len(r.name))
	for i, path := range r.name {
		v := diff.At(body, path)
		switch {
		case path == "metadata.namespace" && v == nil:
			parts[i] = "default"
		case path == "data.attributes.delay_minutes" && v == nil:
			parts[i] = "0"
		case v == nil:
		default:
			if parts[i] = diff.Text(body, path); parts[i] == "" {
				parts[i] = string(encode(v))
			}
		}
	}
	if !slices.ContainsFunc(parts, func(p string) bool { return p != "" }) {
		return ""
	}
	return strings.Join(parts, "/")
}

// Title returns what people call the object that a body makes, or "".
func Title(kind assets.Kind, body any) string {
	switch r := rowOf(kind); {
	case kind == assets.Workflow:
		return diff.Text(body, "data.attributes.name")
	case kind == assets.Entity:
		return diff.Text(body, "metadata.name")
	case len(r.name) == 1:
		return diff.Text(body, r.name[0])
	}
	return ""
}

// Canonical returns what of a body is compared.
func Canonical(kind assets.Kind, body any) any {
	r := rowOf(kind)
	for _, path := range r.unlike {
		body = diff.With(body, path, nil)
	}
	for path, names := range r.aliases {
		if other, ok := names[diff.Text(body, path)]; ok {
			body = diff.With(body, path, other)
		}
	}
	return body
}

// Compare returns where an object is not as want says, both in the shape of the body that makes it.
func Compare(kind assets.Kind, want, have any) []diff.Change {
	want, have = Canonical(kind, want), Canonical(kind, have)
	if TraitsOf(kind).Always {
		have = ours(kind, want, have)
	}
	return diff.Compare(want, have)
}

// Removed returns what before had, want has no longer and have still shows.
func Removed(kind assets.Kind, before, want, have any) []diff.Change {
	return diff.Removed(Canonical(kind, before), Canonical(kind, want), Canonical(kind, have))
}

// Fixed reports whether a change is one that no update makes.
func Fixed(kind assets.Kind, change diff.Change) bool {
	r := rowOf(kind)
	return r.update == "" || slices.Contains(r.fixed, change.Path)
}

// expand fills in a path.
func expand(path, scope, id string) string {
	return strings.NewReplacer("{scope}", url.PathEscape(scope), "{id}", url.PathEscape(id)).Replace(path)
}

func (r row) one(scope, id string) string {
	if r.item != "" {
		return expand(r.item, scope, id)
	}
	return expand(r.path, scope, "") + "/" + url.PathEscape(id)
}

func parameters(query string) url.Values {
	values, err := url.ParseQuery(query)
	if err != nil {
		panic("remote: a query of the table is malformed: " + query)
	}
	return values
}

// object makes an Object of an answer, or of an item of a list.
func (r row) object(scope string, answer any, whole bool) Object {
	body := answer
	if r.open != nil {
		body = r.open(answer)
	}
	o := Object{ID: diff.Text(body, r.id), Scope: scope, Name: Name(r.kind, "", body), Mark: mark(r, body)}
	if whole {
		o.Body = body
	}
	return o
}

var (
	textMark = regexp.MustCompile(`managed-by:llm-reliability-control-plane key:([a-z-]+)/([a-z0-9][a-z0-9_.-]*)`)
	tagMark  = "managed_by:llm-reliability-control-plane"
)

// mark returns the key of the asset that a body says it is, or "".
func mark(r row, body any) string {
	if r.tags != "" {
		tags := list(body, r.tags)
		if !slices.Contains(tags, any(tagMark)) {
			return ""
		}
		for _, tag := range tags {
			s, _ := tag.(string)
			if key, ok := strings.CutPrefix(s, "asset_key:"+string(r.kind)+"-"); ok {
				return key
			}
		}
		return ""
	}
	texts := []any{}
	switch v := diff.At(body, r.text).(type) {
	case string:
		texts = append(texts, v)
	case []any:
		for _, cell := range v {
			texts = append(texts, diff.At(cell, "attributes.definition.text"))
		}
	}
	for _, text := range texts {
		s, _ := text.(string)
		if m := textMark.FindStringSubmatch(s); m != nil && m[1] == string(r.kind) {
			return strings.TrimRight(m[2], ".")
		}
	}
	return ""
}

// List returns all objects of a listed kind, of one user where the kind is per user.
func (c *Client) List(ctx context.Context, kind assets.Kind, scope string) ([]Object, error) {
	r := rowOf(kind)
	if kind == assets.ScannerGroup || kind == assets.ScannerRule {
		return c.scanner(ctx, r)
	}
	path := r.list
	if path == "" {
		path = expand(r.path, scope, "")
	}
	items, err := c.api.List(ctx, path, parameters(r.query), r.pages)
	if err != nil {
		return nil, c.hidden(err)
	}
	objects := make([]Object, len(items))
	for i, raw := range items {
		item, err := diff.Decode(raw)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", path, err)
		}
		if strings.HasPrefix(r.id, "data.") {
			item = object{"data": item}
		}
		objects[i] = r.object(scope, item, !r.partial)
	}
	return objects, nil
}

// scanner returns the groups or the rules of the Sensitive Data Scanner.
func (c *Client) scanner(ctx context.Context, r row) ([]Object, error) {
	config, err := c.configuration(ctx)
	if err != nil {
		return nil, err
	}
	typ := "sensitive_data_scanner_" + strings.TrimPrefix(string(r.kind), "scanner-")
	var objects []Object
	for _, item := range list(config, "included") {
		if diff.Text(item, "type") == typ {
			objects = append(objects, r.object("", object{"data": item}, true))
		}
	}
	return objects, nil
}

func (c *Client) configuration(ctx context.Context) (any, error) {
	var raw json.RawMessage
	if err := c.do(ctx, c.api, http.MethodGet, "/api/v2/sensitive-data-scanner/config", nil, nil, &raw); err != nil {
		return nil, err
	}
	return diff.Decode(raw)
}

// Find returns the objects of the name that a body has. For a listed kind those are all that a list has of it.
func (c *Client) Find(ctx context.Context, kind assets.Kind, scope, key string, body any) ([]Object, error) {
	name := Name(kind, key, body)
	var found []Object
	var err error
	switch {
	case TraitsOf(kind).Listed:
		found, err = c.List(ctx, kind, scope)
	case kind == assets.Connection:
		return nil, ErrNoList
	case kind == assets.Entity:
		found, err = c.entities(ctx, url.Values{"filter[ref]": {strings.Replace(name, "/", ":", 1)}})
	case kind == assets.EscalationPolicy:
		found, err = c.policies(ctx, body)
	default:
		var o *Object
		if o, err = c.Get(ctx, kind, scope, name); o != nil {
			found = []Object{*o}
		}
	}
	return slices.DeleteFunc(found, func(o Object) bool { return o.Name != name }), err
}

func (c *Client) entities(ctx context.Context, query url.Values) ([]Object, error) {
	r := rowOf(assets.Entity)
	query.Set("include", "schema")
	var raw json.RawMessage
	if err := c.do(ctx, c.api, http.MethodGet, r.path, query, nil, &raw); err != nil {
		return nil, err
	}
	answer, err := diff.Decode(raw)
	if err != nil {
		return nil, err
	}
	find := included(answer)
	var found []Object
	for _, item := range list(answer, "data") {
		schema := diff.At(find(diff.At(item, "relationships.schema.data")), "attributes.schema")
		if schema == nil {
			schema = object{
				"apiVersion": diff.At(item, "attributes.apiVersion"), "kind": diff.At(item, "attributes.kind"),
				"metadata": diff.With(diff.At(item, "attributes"), "apiVersion", nil),
			}
		}
		found = append(found, Object{ID: diff.Text(item, "id"), Name: Name(r.kind, "", schema), Mark: mark(r, schema), Body: schema})
	}
	return found, nil
}

// policies returns the escalation policies that the routing rules of a policy's teams lead to.
func (c *Client) policies(ctx context.Context, body any) ([]Object, error) {
	var found []Object
	for _, team := range list(body, "data.relationships.teams.data") {
		rules, err := c.Get(ctx, assets.RoutingRules, "", diff.Text(team, "id"))
		if err != nil {
			return nil, err
		}
		if rules == nil {
			continue
		}
		var ids []string
		for _, rule := range list(rules.Body, "data.attributes.rules") {
			ids = append(ids, diff.Text(rule, "policy_id"))
			for _, action := range list(rule, "actions") {
				ids = append(ids, diff.Text(action, "policy_id"))
			}
		}
		slices.Sort(ids)
		for _, id := range slices.Compact(ids) {
			if id == "" || slices.ContainsFunc(found, func(o Object) bool { return o.ID == id }) {
				continue
			}
			policy, err := c.Get(ctx, assets.EscalationPolicy, "", id)
			if err != nil {
				return nil, err
			}
			if policy != nil {
				found = append(found, *policy)
			}
		}
	}
	return found, nil
}

// Get returns an object, whole, or nil when it is not there.
func (c *Client) Get(ctx context.Context, kind assets.Kind, scope, id string) (*Object, error) {
	r := rowOf(kind)
	switch {
	case id == "" && !r.always || strings.Contains(id, "${"):
		return nil, nil
	case kind == assets.Entity:
		found, err := c.entities(ctx, url.Values{"filter[id]": {id}})
		return pick(found, id), err
	case kind == assets.ScannerGroup || kind == assets.ScannerRule || kind == assets.IncidentHandle:
		found, err := c.List(ctx, kind, scope)
		return pick(found, id), err
	}
	var raw json.RawMessage
	err := c.do(ctx, c.api, http.MethodGet, r.one(scope, id), parameters(r.detail), nil, &raw)
	switch status := ddapi.Status(err); {
	case status == http.StatusNotFound:
		return nil, nil
	case status == http.StatusBadRequest && kind == assets.Pipeline:
		return nil, nil // A pipeline that is not there is a bad request.
	case err != nil:
		return nil, err
	}
	answer, err := diff.Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.one(scope, id), err)
	}
	o := r.object(scope, answer, true)
	switch {
	case kind == assets.MetricMetadata:
		o.ID, o.Name = id, id
	case kind == assets.RoutingRules:
		o.ID, o.Name = id, id
		if len(list(o.Body, "data.attributes.rules")) == 0 {
			return nil, nil
		}
	case r.always:
		o.ID = string(kind)
	case o.ID == "":
		return nil, fmt.Errorf("GET %s: the answer has no identifier", r.one(scope, id))
	}
	return &o, nil
}

func pick(found []Object, id string) *Object {
	if i := slices.IndexFunc(found, func(o Object) bool { return o.ID == id }); i >= 0 {
		return &found[i]
	}
	return nil
}
