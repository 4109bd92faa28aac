package api

import (
	"encoding/json"
	"net/http"
	"slices"
)

const (
	scannerGroupKind = "scanner-group"
	scannerRuleKind  = "scanner-rule"
	groupType        = "sensitive_data_scanner_group"
	ruleType         = "sensitive_data_scanner_rule"
	// scannerConfiguration is the id of the organisation's only configuration.
	scannerConfiguration = "5ca77e50-0000-4000-8000-000000000001"
)

// patterns are some of Datadog's library. Their ids are made up.
var patterns = map[string]string{
	"5ca77e50-0000-4000-8000-0000000000a1": "Standard Email Address Scanner",
	"5ca77e50-0000-4000-8000-0000000000a2": "Visa Card Scanner (4x4 digits)",
	"5ca77e50-0000-4000-8000-0000000000a3": "US Social Security Number Scanner",
	"5ca77e50-0000-4000-8000-0000000000a4": "JSON Web Token (JWT) Scanner",
	"5ca77e50-0000-4000-8000-0000000000a5": "AWS Access Key ID Scanner",
}

// products are what a group can scan.
var products = []string{"logs", "rum", "events", "apm"}

// scannerRoutes adds the Sensitive Data Scanner: the whole configuration is read at once, and every change of it carries
// the version that it was made for, or none.
func (a *API) scannerRoutes() {
	const path = "/api/v2/sensitive-data-scanner/config"
	add := func(pattern, schema string, status int, h func(c *call) (obj, error)) {
		a.route(pattern, route{api: "v2", schema: schema, handle: func(c *call) (int, any, error) {
			if err := c.version(); err != nil {
				return 0, nil, err
			}
			answer, err := h(c)
			if err != nil {
				return 0, nil, err
			}
			if answer == nil {
				answer = obj{}
			}
			answer["meta"] = obj{"version": a.scanner.Load()}
			return status, answer, nil
		}})
	}
	a.route("GET "+path, route{handle: a.scannerConfig})
	a.route("GET "+path+"/standard-patterns", route{handle: func(*call) (int, any, error) {
		data := []any{}
		for _, id := range sortedKeys(patterns) {
			data = append(data, obj{"id": id, "type": "sensitive_data_scanner_standard_pattern", "attributes": obj{"name": patterns[id], "description": "", "pattern": "", "tags": []any{}, "priority": 1, "included_keywords": []any{}}})
		}
		return http.StatusOK, obj{"data": data}, nil
	}})
	add("PATCH "+path, "SensitiveDataScannerConfigRequest", http.StatusOK, func(c *call) (obj, error) {
		ids := refs(c.body, "data", "relationships", "groups", "data")
		if !a.exactly(scannerGroupKind, ids) {
			return nil, bad("the order must list every group once")
		}
		a.store.reorder(scannerGroupKind, ids)
		a.scanner.Add(1)
		return nil, nil
	})
	create := map[string]func(c *call) (obj, error){scannerGroupKind: createGroup, scannerRuleKind: createRule}
	for kind, h := range create {
		a.kinds[kind] = maker{create: func(c *call) (int, any, error) {
			v, err := h(c)
			return http.StatusCreated, v, err
		}}
	}
	add("POST "+path+"/groups", "SensitiveDataScannerGroupCreateRequest", http.StatusCreated, createGroup)
	add("PATCH "+path+"/groups/{id}", "SensitiveDataScannerGroupUpdateRequest", http.StatusOK, func(c *call) (obj, error) {
		rules := refs(c.body, "data", "relationships", "rules", "data")
		have := a.rulesOf(c.param("id"))
		if len(rules) > 0 || sub(c.body, "data", "relationships", "rules") != nil {
			if !slices.Equal(slices.Sorted(slices.Values(rules)), slices.Sorted(slices.Values(have))) {
				return nil, bad("relationships.rules must list every rule of the group")
			}
		}
		if err := c.change(scannerGroupKind, groupType, checkGroup); err != nil {
			return nil, err
		}
		if len(rules) > 0 {
			all := []string{}
			for _, o := range a.store.all(scannerRuleKind) {
				if !slices.Contains(rules, o.id) {
					all = append(all, o.id)
				}
			}
			a.store.reorder(scannerRuleKind, append(all, rules...))
		}
		return nil, nil
	})
	add("DELETE "+path+"/groups/{id}", "SensitiveDataScannerGroupDeleteRequest", http.StatusOK, func(c *call) (obj, error) {
		for _, id := range a.rulesOf(c.param("id")) {
			if err := a.drop(a.store.get(scannerRuleKind, id)); err != nil {
				return nil, err
			}
		}
		return nil, c.remove(scannerGroupKind)
	})
	add("POST "+path+"/rules", "SensitiveDataScannerRuleCreateRequest", http.StatusCreated, createRule)
	add("PATCH "+path+"/rules/{id}", "SensitiveDataScannerRuleUpdateRequest", http.StatusOK, func(c *call) (obj, error) {
		return nil, c.change(scannerRuleKind, ruleType, checkRule)
	})
	add("DELETE "+path+"/rules/{id}", "SensitiveDataScannerRuleDeleteRequest", http.StatusOK, func(c *call) (obj, error) {
		return nil, c.remove(scannerRuleKind)
	})
}

// version checks the meta of a request that changes the configuration.
func (c *call) version() error {
	meta, ok := c.body["meta"].(obj)
	if !ok {
		return bad("meta is required")
	}
	if v, given := number(meta, "version"); given && int64(v) != c.a.scanner.Load() {
		return bad("version %v is not the current version %d of the configuration", v, c.a.scanner.Load())
	}
	return nil
}

// refs returns the ids of a relationship to many.
func refs(b obj, path ...string) []string {
	var ids []string
	for _, r := range objs(b, path...) {
		ids = append(ids, text(r, "id"))
	}
	return ids
}

// change merges a request into an object of the scanner.
func (c *call) change(kind, typ string, check func(c *call, b obj) error) error {
	old := c.a.store.get(kind, c.param("id"))
	if old == nil {
		return missing("%s not found", c.param("id"))
	}
	if text(c.body, "data", "type") != typ {
		return bad("data.type must be %q", typ)
	}
	o := *old
	o.changed = c.now
	var err error
	if o.body, err = merged(c, old); err != nil {
		return err
	}
	if err := check(c, o.body); err != nil {
		return err
	}
	c.a.scanner.Add(1)
	return c.commit(&o)
}

func (c *call) remove(kind string) error {
	o := c.a.store.get(kind, c.param("id"))
	if o == nil {
		return missing("%s not found", c.param("id"))
	}
	c.a.scanner.Add(1)
	return c.a.drop(o)
}

// keep stores a new object of the scanner.
func (c *call) keep(kind string) (*object, error) {
	o := &object{kind: kind, id: c.a.uuid(), body: clone(c.body), created: c.now, changed: c.now, author: c.author}
	delete(sub(o.body, "data"), "id")
	c.a.scanner.Add(1)
	return o, c.commit(o)
}

func createGroup(c *call) (obj, error) {
	if _, err := attributes(c.body, groupType); err != nil {
		return nil, err
	}
	if data := sub(c.body, "data"); c.seeding && sub(data, "relationships") == nil {
		data["relationships"] = obj{"configuration": obj{"data": obj{"id": scannerConfiguration, "type": "sensitive_data_scanner_configuration"}}}
	}
	if id := text(c.body, "data", "relationships", "configuration", "data", "id"); id != scannerConfiguration {
		return nil, bad("relationships.configuration: %q is not the configuration of the organisation", id)
	}
	if len(list(c.body, "data", "relationships", "rules", "data")) > 0 {
		return nil, bad("relationships.rules must be empty when a group is created")
	}
	if err := checkGroup(c, c.body); err != nil {
		return nil, err
	}
	o, err := c.keep(scannerGroupKind)
	if err != nil {
		return nil, err
	}
	return obj{"data": c.a.viewGroup(o)}, nil
}

func checkGroup(_ *call, b obj) error {
	attrs := sub(b, "data", "attributes")
	if text(attrs, "name") == "" || text(attrs, "filter", "query") == "" || len(list(attrs, "product_list")) == 0 {
		return bad("name, filter.query and product_list are required")
	}
	for _, p := range list(attrs, "product_list") {
		if s, ok := p.(string); !ok || !slices.Contains(products, s) {
			return bad("product_list: unknown product %v", p)
		}
	}
	for _, s := range objs(attrs, "samplings") {
		if rate, ok := number(s, "rate"); !ok || rate < 0 || rate > 100 || !slices.Contains(texts(attrs, "product_list"), text(s, "product")) {
			return bad("samplings: the rate is not from 0 to 100, or the product is not in product_list")
		}
	}
	return nil
}

func createRule(c *call) (obj, error) {
	if _, err := attributes(c.body, ruleType); err != nil {
		return nil, err
	}
	if err := checkRule(c, c.body); err != nil {
		return nil, err
	}
	o, err := c.keep(scannerRuleKind)
	if err != nil {
		return nil, err
	}
	return obj{"data": viewRule(o)}, nil
}

func checkRule(c *call, b obj) error {
	attrs := sub(b, "data", "attributes")
	group := text(b, "data", "relationships", "group", "data", "id")
	standard := text(b, "data", "relationships", "standard_pattern", "data", "id")
	replace := text(attrs, "text_replacement", "type")
	switch {
	case c.a.store.get(scannerGroupKind, group) == nil:
		return bad("relationships.group: group %q not found", group)
	case text(attrs, "name") == "":
		return bad("name is required")
	case (text(attrs, "pattern") == "") == (standard == ""):
		return bad("either pattern or relationships.standard_pattern is required")
	case standard != "" && patterns[standard] == "":
		return bad("relationships.standard_pattern: pattern %q not found", standard)
	case !within(attrs, 1, 5, "priority"):
		return bad("priority must be from 1 to 5")
	case replace != "" && !slices.Contains([]string{"none", "hash", "replacement_string", "partial_replacement_from_beginning", "partial_replacement_from_end"}, replace):
		return bad("text_replacement.type is invalid: %q", replace)
	case replace == "replacement_string" && text(attrs, "text_replacement", "replacement_string") == "":
		return bad("text_replacement.replacement_string is required")
	}
	return nil
}

// rulesOf returns the ids of the rules of a group.
func (a *API) rulesOf(group string) []string {
	var ids []string
	for _, o := range a.store.all(scannerRuleKind) {
		if text(o.body, "data", "relationships", "group", "data", "id") == group {
			ids = append(ids, o.id)
		}
	}
	return ids
}

func (a *API) viewGroup(o *object) obj {
	attrs := clone(sub(o.body, "data", "attributes"))
	samplings := []any{}
	for _, p := range texts(attrs, "product_list") {
		samplings = append(samplings, obj{"product": p, "rate": json.Number("100.0")})
	}
	fill(attrs, obj{"description": "", "is_enabled": true, "samplings": samplings})
	v := resource(o, groupType, attrs)
	v["relationships"] = obj{
		"configuration": obj{"data": obj{"id": scannerConfiguration, "type": "sensitive_data_scanner_configuration"}},
		"rules":         obj{"data": links(ruleType, a.rulesOf(o.id))},
	}
	return v
}

// links returns references to objects.
func links(typ string, ids []string) []any {
	out := make([]any, len(ids))
	for i, id := range ids {
		out[i] = obj{"id": id, "type": typ}
	}
	return out
}

func viewRule(o *object) obj {
	attrs := clone(sub(o.body, "data", "attributes"))
	fill(attrs, obj{
		"description": "", "is_enabled": true, "namespaces": []any{}, "excluded_namespaces": []any{}, "tags": []any{}, "priority": 1,
		"text_replacement": obj{"type": "none"},
	})
	v := resource(o, ruleType, attrs)
	v["relationships"] = clone(sub(o.body, "data", "relationships"))
	return v
}

// scannerConfig answers with everything: groups and rules are in included.
func (a *API) scannerConfig(*call) (int, any, error) {
	var ids []string
	included := []any{}
	for _, o := range a.store.all(scannerGroupKind) {
		ids = append(ids, o.id)
		included = append(included, a.viewGroup(o))
	}
	for _, o := range a.store.all(scannerRuleKind) {
		included = append(included, viewRule(o))
	}
	return http.StatusOK, obj{
		"data": obj{
			"id": scannerConfiguration, "type": "sensitive_data_scanner_configuration", "attributes": obj{},
			"relationships": obj{"groups": obj{"data": links(groupType, ids)}},
		},
		"included": included,
		"meta":     obj{"version": a.scanner.Load(), "count_limit": 100, "group_count_limit": 20, "has_highlight_enabled": true, "has_multi_pass_enabled": true, "is_pci_compliant": false},
	}, nil
}
