package ddapi

import (
	"slices"
	"strings"
)

// Host is one of the services of a Datadog site that have a host name of their own.
type Host int

// The hosts. All but API are reached with Client.At.
const (
	API Host = iota
	// OnCallPaging takes pages.
	OnCallPaging
	// EventIntake takes events of the second version.
	EventIntake
	// AnalyticsIntake takes server-side events of Product Analytics.
	AnalyticsIntake
)

// site is one public site of Datadog. Paging has a host per site that does not follow from the site's name, and the
// government sites have none.
type site struct{ name, paging string }

// sites are the public sites; a key is sent to no other host, unless BaseURL says so.
var sites = []site{
	{"datadoghq.com", "navy.oncall.datadoghq.com"},
	{"us3.datadoghq.com", "teal.oncall.datadoghq.com"},
	{"us5.datadoghq.com", "coral.oncall.datadoghq.com"},
	{"datadoghq.eu", "beige.oncall.datadoghq.eu"},
	{"ap1.datadoghq.com", "saffron.oncall.datadoghq.com"},
	{"ap2.datadoghq.com", "lava.oncall.datadoghq.com"},
	{"uk1.datadoghq.com", "scarlet.oncall.datadoghq.com"},
	{"ddog-gov.com", ""},
	{"us2.ddog-gov.com", ""},
}

// Sites returns the names of the public sites, as DD_SITE holds them.
func Sites() []string {
	names := make([]string, len(sites))
	for i, s := range sites {
		names[i] = s.name
	}
	return names
}

// host returns the name of a host of a site, or "" when the site or the host does not exist.
func host(name string, h Host) string {
	i := slices.IndexFunc(sites, func(s site) bool { return s.name == name })
	switch {
	case i < 0:
		return ""
	case h == API:
		return "api." + name
	case h == EventIntake:
		return "event-management-intake." + name
	case h == AnalyticsIntake:
		// All dots but the last become dashes.
		return "browser-intake-" + strings.Replace(name, ".", "-", strings.Count(name, ".")-1)
	}
	return sites[i].paging
}
