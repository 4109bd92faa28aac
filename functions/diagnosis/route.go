package diagnosis

import (
	"cmp"
	"slices"

	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/gateway"
)

// Route returns the backends of the gateway's route as they are probed: the standard model of each. The providers that are
// named in open need no credentials; the others have an API key. Whoever knows better sets Credentials.
func Route(route []gateway.Backend, open ...string) []Backend {
	var out []Backend
	for _, b := range route {
		model := b.Tiers[catalog.Standard]
		for _, tier := range catalog.Tiers() {
			model = cmp.Or(model, b.Tiers[tier])
		}
		probed := Backend{Provider: b.Provider, Location: b.Location, Model: model, Client: b.Model, Credentials: Key{Client: b.Model, Model: model}}
		if slices.Contains(open, b.Provider) {
			probed.Credentials = None{}
		}
		out = append(out, probed)
	}
	return out
}
