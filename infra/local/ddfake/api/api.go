package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// User is a person of the organisation.
type User struct{ ID, Email, Name string }

// Sink is told of every object that is created, changed or deleted. The kind is that of infra/assets, and body the object
// in the shape of its create call, secret values included. An error of Put refuses the request with its text. The sink
// is called in the middle of a request: it may read from the API, and must not send requests that change something.
type Sink interface {
	Put(kind, id string, body json.RawMessage) error
	Delete(kind, id string) error
}

// Options are the dependencies of an API.
type Options struct {
	// Now is the time of what is created and changed; required.
	Now func() time.Time
	// Sink may be nil.
	Sink Sink
	// Check judges the body of a request by a schema of Datadog's OpenAPI description, such as "v1" and "Monitor"; nil
	// leaves it to the rules of this package.
	Check func(api, schema string, body []byte) error
	// Users are the people of the organisation. The first is the owner of the application key; when there are none, one
	// is made up.
	Users []User
	// APIKey and AppKey are the keys that are accepted; any is when empty.
	APIKey, AppKey string
	// RateLimit answers 429 beyond the limits of the log configuration. The headers tell of limits all the same, but without
	// it always of one request more.
	RateLimit bool
	// Submitted reports whether a metric has arrived by another way than this API; it may be nil.
	Submitted func(metric string) bool
}

// API is the handler. It is safe for concurrent use.
type API struct {
	opts  Options
	mux   *http.ServeMux
	kinds map[string]maker
	store store

	// writes makes requests that change something come one after the other.
	writes sync.Mutex

	ids  sync.Mutex
	rand *rand.Rand
	last int64

	mu      sync.Mutex
	calls   map[[2]string]int
	windows map[string]*window
	fault   Fault
	failed  int
	metrics map[string]bool
	// scanner is the version of the scanner's configuration.
	scanner atomic.Int64
}

// maker makes objects of a kind for Seed.
type maker struct {
	create handler
	// params returns what is in the path of the create call and not in its body; nil when nothing is.
	params func(body obj) map[string]string
}

// stranger is who makes the objects of Seed.
var stranger = User{ID: "5eed0000-0000-4000-8000-000000000001", Email: "somebody.else@example.com", Name: "Somebody Else"}

// New checks the options and returns an API of an organisation in which nobody has made anything.
func New(opts Options) (*API, error) {
	if opts.Now == nil {
		return nil, errors.New("api: Now is required")
	}
	opts.Users = slices.Clone(opts.Users)
	if len(opts.Users) == 0 {
		opts.Users = []User{{ID: "0a9e0000-0000-4000-8000-000000000001", Email: "owner@example.com", Name: "Owner"}}
	}
	for i, u := range opts.Users {
		if u.ID == "" || u.Email == "" {
			return nil, fmt.Errorf("api: user %d has no ID or no Email", i)
		}
	}
	a := &API{
		opts: opts, mux: http.NewServeMux(), kinds: map[string]maker{},
		store: store{byKind: map[string][]*object{}},
		// Identifiers differ from one run to the next, so that a state file of an earlier run can't point at other objects.
		rand:  rand.New(rand.NewPCG(uint64(opts.Now().UnixNano()), 0)),
		last:  100_000_000,
		calls: map[[2]string]int{}, windows: map[string]*window{}, metrics: map[string]bool{},
	}
	a.routes()
	return a, nil
}

// routes registers every path.
func (a *API) routes() {
	for _, k := range []kind{
		metricTags(), generatedMetrics(spansMetricKind, "/api/v2/apm/config/metrics", "spans_metrics", "SpansMetric"),
		generatedMetrics(logsMetricKind, "/api/v2/logs/config/metrics", "logs_metrics", "LogsMetric"), retentionFilters(), teams(),
		pipelines(), archives(), connections(), webhookVariables(), webhooks(), globalVariables(), workflows(), slos(), incidentRules(),
		schedules(), policies(), channels(), notificationRules(), monitors(), monitorRules(), tests(), dashboards(), notebooks(), rumApplications(), incidents(),
	} {
		a.register(k)
	}
	a.route("GET /api/v1/validate", route{keyOnly: true, handle: func(*call) (int, any, error) {
		return http.StatusOK, obj{"valid": true}, nil
	}})
	for _, add := range []func(){
		a.metricRoutes, a.retentionRoutes, a.entityRoutes, a.scannerRoutes, a.logsRoutes, a.sloRoutes, a.incidentRoutes, a.routingRoutes,
		a.monitorRoutes, a.testRoutes, a.userRoutes, a.responseRoutes,
	} {
		add()
	}
}

// ServeHTTP answers a request as Datadog's API does.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.calls[[2]string{r.URL.Path, r.Method}]++
	a.mu.Unlock()
	f, hit := a.fails(r)
	if !hit {
		a.answer(w, r)
		return
	}
	if f.After {
		a.answer(&discarded{header: http.Header{}}, r)
	}
	if f.Status == 0 {
		panic(http.ErrAbortHandler)
	}
	for k, v := range f.Header {
		w.Header().Set(k, v)
	}
	write(w, f.Status, plain.of(f.Status, http.StatusText(f.Status)))
}

// answer finds the route of a request.
func (a *API) answer(w http.ResponseWriter, r *http.Request) {
	if h, pattern := a.mux.Handler(r); pattern == "" {
		// The mux knows whether the path is of another method.
		none := &discarded{header: http.Header{}}
		h.ServeHTTP(none, r)
		if allow := none.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
		}
		status := max(none.status, http.StatusNotFound)
		write(w, status, plain.of(status, http.StatusText(status)))
		return
	}
	a.mux.ServeHTTP(w, r)
}

// discarded is an answer that nobody reads.
type discarded struct {
	header http.Header
	status int
}

func (d *discarded) Header() http.Header         { return d.header }
func (d *discarded) Write(b []byte) (int, error) { return len(b), nil }
func (d *discarded) WriteHeader(status int)      { d.status = status }

// Objects returns the objects of a kind by id, in the shape of the create call.
func (a *API) Objects(kind string) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for _, o := range a.store.all(kind) {
		if o.derived {
			continue
		}
		// What was decoded from JSON encodes again.
		raw, _ := json.Marshal(o.body)
		out[o.id] = raw
	}
	return out
}

// Seed plants an object that somebody else has made, and returns its id. The body is that of the create call; what that
// call has in its path is in the body instead: "name" of metric-metadata, data.id of routing-rules and metric-tags, and
// data.relationships.user.data.id of notification-channel and notification-rule. A pipeline with is_read_only true is
// one of Datadog's integrations, which nobody can change.
func (a *API) Seed(kind string, body json.RawMessage) (string, error) {
	m, ok := a.kinds[kind]
	if !ok {
		return "", fmt.Errorf("seed: unknown kind %q, want one of %v", kind, slices.Sorted(maps.Keys(a.kinds)))
	}
	parsed, err := decode(body)
	if err != nil {
		return "", fmt.Errorf("seed %s: %w", kind, err)
	}
	a.writes.Lock()
	defer a.writes.Unlock()
	c := &call{a: a, body: parsed, now: a.opts.Now(), author: stranger, seeding: true, params: map[string]string{}}
	if m.params != nil {
		c.params = m.params(parsed)
	}
	if _, _, err := m.create(c); err != nil {
		return "", fmt.Errorf("seed %s: %w", kind, err)
	}
	return c.id, nil
}
