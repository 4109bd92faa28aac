package remote

import (
	"context"
	"net/url"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets/deploy/diff"
)

// User returns the identifier of the active user with an e-mail address, or "".
func (c *Client) User(ctx context.Context, address string) (string, error) {
	items, err := c.api.List(ctx, "/api/v2/users", url.Values{"filter": {address}}, byNumber)
	if err != nil {
		return "", c.hidden(err)
	}
	for _, raw := range items {
		user, err := diff.Decode(raw)
		if err != nil {
			return "", err
		}
		if strings.EqualFold(diff.Text(user, "attributes.email"), address) && diff.At(user, "attributes.disabled") != true {
			return diff.Text(user, "id"), nil
		}
	}
	return "", nil
}

// IncidentType returns the identifier of an incident type by its name, or "". The name "default" is the one that the
// organisation has as its default, or its only one.
func (c *Client) IncidentType(ctx context.Context, name string) (string, error) {
	items, err := c.api.List(ctx, "/api/v2/incidents/config/types", nil, inData)
	if err != nil {
		return "", c.hidden(err)
	}
	for _, raw := range items {
		typ, err := diff.Decode(raw)
		if err != nil {
			return "", err
		}
		is := strings.EqualFold(diff.Text(typ, "attributes.name"), name)
		if name == "default" {
			is = diff.At(typ, "attributes.is_default") == true || len(items) == 1
		}
		if is {
			return diff.Text(typ, "id"), nil
		}
	}
	return "", nil
}

// ScannerConfiguration returns the identifier of the organisation's Sensitive Data Scanner, or "".
func (c *Client) ScannerConfiguration(ctx context.Context) (string, error) {
	config, err := c.configuration(ctx)
	return diff.Text(config, "data.id"), err
}
