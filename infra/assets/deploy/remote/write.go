package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/deploy/diff"
	"github.com/llm-reliability/control-plane/shared/ddapi"
)

// Create makes an object and returns its identifier. When ddapi.Unknown says of the error that the object may have been
// made, look before it is made again.
func (c *Client) Create(ctx context.Context, kind assets.Kind, scope, key string, body any) (id string, err error) {
	r := rowOf(kind)
	switch kind {
	case assets.MetricMetadata:
		return key, c.describe(ctx, key, body)
	case assets.MetricTags:
		id := diff.Text(body, "data.id")
		if err := c.ensure(ctx, id); err != nil {
			return "", err
		}
		return id, c.eventually(ctx, func() error {
			err := c.do(ctx, c.api, http.MethodPost, expand(r.path, "", id), nil, body, nil)
			if ddapi.Status(err) == http.StatusConflict {
				return c.Update(ctx, Object{ID: id}, kind, body)
			}
			return err
		})
	case assets.RoutingRules:
		id := diff.Text(body, "data.id")
		return id, c.do(ctx, c.api, http.MethodPut, r.one("", id), nil, body, nil)
	}
	api := c.api
	if r.update == http.MethodPost {
		api = api.Repeatable() // POST puts the object in the place of one of its name.
	}
	var raw json.RawMessage
	if err := c.do(ctx, api, http.MethodPost, expand(r.path, scope, ""), nil, body, &raw); err != nil {
		return "", err
	}
	answer, err := diff.Decode(raw)
	if err != nil {
		return "", fmt.Errorf("POST %s: %w", expand(r.path, scope, ""), err)
	}
	if kind == assets.Entity {
		if all := list(answer, "data"); len(all) > 0 {
			return diff.Text(all[0], "id"), nil
		}
		return "", nil // The answer may come before the entity does; it is found by its name.
	}
	if id = r.object(scope, answer, false).ID; id == "" {
		return "", fmt.Errorf("POST %s: the answer has no identifier", expand(r.path, scope, ""))
	}
	return id, nil
}

// Update makes an object what a body says.
func (c *Client) Update(ctx context.Context, live Object, kind assets.Kind, body any) error {
	r := rowOf(kind)
	api := c.api
	switch {
	case r.always:
		now, err := c.Get(ctx, kind, "", "")
		if err != nil {
			return err
		}
		if now != nil {
			body = merged(kind, body, now.Body)
		}
	case r.update == http.MethodPost:
		return c.do(ctx, api.Repeatable(), http.MethodPost, expand(r.path, live.Scope, ""), nil, body, nil)
	case r.edit != nil:
		body = r.edit(live, body)
	}
	if r.withID {
		body = diff.With(body, "data.id", live.ID)
	}
	return c.do(ctx, api, r.update, r.one(live.Scope, live.ID), nil, body, nil)
}

// Delete deletes an object; one that is not there counts as deleted. force deletes what others refer to, where Datadog
// would refuse that.
func (c *Client) Delete(ctx context.Context, kind assets.Kind, scope, id string, force bool) error {
	r := rowOf(kind)
	query := url.Values{}
	if force && (kind == assets.Monitor || kind == assets.SLO) {
		query.Set("force", "true")
	}
	var err error
	switch kind {
	case assets.SyntheticsTest:
		err = c.do(ctx, c.api.Repeatable(), http.MethodPost, r.list+"/delete", nil, object{"public_ids": []string{id}}, nil)
	case assets.ScannerGroup, assets.ScannerRule:
		err = c.do(ctx, c.api, http.MethodDelete, r.one(scope, id), nil, object{"meta": object{}}, nil)
	case assets.RoutingRules:
		err = c.do(ctx, c.api, http.MethodPut, r.one(scope, id), nil,
			object{"data": object{"type": "team_routing_rules", "id": id, "attributes": object{"rules": []any{}}}}, nil)
	default:
		err = c.do(ctx, c.api, http.MethodDelete, r.one(scope, id), query, nil, nil)
	}
	switch status := ddapi.Status(err); {
	case status == http.StatusNotFound:
		return nil
	case status == http.StatusBadRequest && kind == assets.Pipeline:
		// A pipeline that is not there is a bad request.
		if found, look := c.Get(ctx, kind, scope, id); look == nil && found == nil {
			return nil
		}
	}
	return err
}

// describe sets the metadata of a metric, which must have been submitted once.
func (c *Client) describe(ctx context.Context, metric string, body any) error {
	if err := c.ensure(ctx, metric); err != nil {
		return err
	}
	return c.eventually(ctx, func() error {
		return c.do(ctx, c.api, http.MethodPut, expand("/api/v1/metrics/{id}", "", metric), nil, body, nil)
	})
}

// ensure submits one zero of a metric that Datadog does not know. It has no service tag, so that no query of ours reads it.
func (c *Client) ensure(ctx context.Context, metric string) error {
	known, err := c.Get(ctx, assets.MetricMetadata, "", metric)
	if err != nil || known != nil {
		return err
	}
	point := []any{time.Now().Unix(), []int{0}}
	body := object{"series": []any{object{"metric": metric, "type": "distribution", "points": []any{point}}}}
	return c.do(ctx, c.api.Repeatable(), http.MethodPost, "/api/v1/distribution_points", nil, body, nil)
}

// eventually repeats what fails because a metric is not known yet, for a minute.
func (c *Client) eventually(ctx context.Context, f func() error) error {
	wait := time.Second
	for {
		err := f()
		if ddapi.Status(err) != http.StatusNotFound || wait > 32*time.Second {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		}
		wait *= 2
	}
}
