package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/api"
)

// now is the time of the tests.
var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// The people of the organisation of the tests.
var (
	ann = api.User{ID: "11111111-0000-4000-8000-000000000001", Email: "ann@example.com", Name: "Ann"}
	bob = api.User{ID: "22222222-0000-4000-8000-000000000002", Email: "bob@example.com", Name: "Bob"}
)

// org is an organisation behind a test server.
type org struct {
	t   *testing.T
	api *api.API
	url string
	// told is what the sink heard, in order.
	told []string
	// refuse is the error of the sink's Put.
	refuse error
}

func (o *org) Put(kind, id string, body json.RawMessage) error {
	o.told = append(o.told, "put "+kind+" "+id)
	if !json.Valid(body) {
		o.t.Errorf("the sink is told of a %s that is not JSON: %s", kind, body)
	}
	return o.refuse
}

func (o *org) Delete(kind, id string) error {
	o.told = append(o.told, "delete "+kind+" "+id)
	return nil
}

func newOrg(t *testing.T, change ...func(*api.Options)) *org {
	t.Helper()
	o := &org{t: t}
	opts := api.Options{Now: func() time.Time { return now }, Sink: o, Users: []api.User{ann, bob}}
	for _, c := range change {
		c(&opts)
	}
	a, err := api.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	o.api, o.url = a, server.URL
	return o
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	raw    string
	body   any
}

// try sends a request with both keys. The error is that of the transport.
func (o *org) try(method, path, body string) (reply, error) {
	o.t.Helper()
	r, err := http.NewRequest(method, o.url+path, strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	r.Header.Set("DD-API-KEY", "key")
	r.Header.Set("DD-APPLICATION-KEY", "app")
	got, err := send(r)
	if err == nil {
		judge(o.t, method, path, got)
	}
	return got, err
}

func send(r *http.Request) (reply, error) {
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	out := reply{status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	if len(raw) > 0 && json.Unmarshal(raw, &out.body) != nil {
		return out, fmt.Errorf("no JSON: %s", raw)
	}
	return out, err
}

// do sends a request, and fails the test when the status is another.
func (o *org) do(status int, method, path, body string) reply {
	o.t.Helper()
	r, err := o.try(method, path, body)
	if err != nil {
		o.t.Fatalf("%s %s: %v", method, path, err)
	}
	if r.status != status {
		o.t.Fatalf("%s %s: %d %s, want %d", method, path, r.status, r.raw, status)
	}
	return r
}

// at returns what is in an answer at a path such as data.0.id, as text.
func (r reply) at(path string) string {
	v := r.body
	for key := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[key]
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); err != nil || i >= len(in) {
				return "nothing"
			}
			v = in[i]
		default:
			return "nothing"
		}
	}
	switch v := v.(type) {
	case string:
		return v
	case float64:
		if v == float64(int64(v)) {
			return fmt.Sprint(int64(v))
		}
	}
	raw, _ := json.Marshal(v)
	return string(raw)
}

// want checks what is in an answer: path, text, path, text.
func (r reply) want(t *testing.T, pairs ...string) {
	t.Helper()
	for i := 0; i+1 < len(pairs); i += 2 {
		if got := r.at(pairs[i]); got != pairs[i+1] {
			t.Errorf("%s is %s, want %s, in %s", pairs[i], got, pairs[i+1], r.raw)
		}
	}
}

func TestNewChecksItsOptions(t *testing.T) {
	if _, err := api.New(api.Options{}); err == nil {
		t.Error("an API without a clock is made")
	}
	if _, err := api.New(api.Options{Now: time.Now, Users: []api.User{{Name: "no id"}}}); err == nil {
		t.Error("a user without an id is taken")
	}
}

func TestKeysAreRequired(t *testing.T) {
	o := newOrg(t, func(opts *api.Options) { opts.APIKey, opts.AppKey = "key", "app" })
	for name, tc := range map[string]struct {
		path, key, app string
		status         int
	}{
		"both keys":                               {"/api/v1/monitor", "key", "app", 200},
		"no key at all":                           {"/api/v1/monitor", "", "", 403},
		"a wrong API key":                         {"/api/v1/monitor", "other", "app", 403},
		"no application key":                      {"/api/v1/monitor", "key", "", 403},
		"a wrong application key":                 {"/api/v1/monitor", "key", "other", 403},
		"validation of the API key needs no more": {"/api/v1/validate", "key", "", 200},
		"validation of a wrong key":               {"/api/v1/validate", "other", "", 403},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequest(http.MethodGet, o.url+tc.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("DD-API-KEY", tc.key)
			r.Header.Set("DD-APPLICATION-KEY", tc.app)
			got, err := send(r)
			if err != nil || got.status != tc.status {
				t.Fatalf("%d %s %v, want %d", got.status, got.raw, err, tc.status)
			}
			if tc.status == http.StatusForbidden {
				got.want(t, "errors.0", "Forbidden")
			}
		})
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	o := newOrg(t)
	o.do(404, "GET", "/api/v1/nothing", "").want(t, "errors.0", "Not Found")
	o.do(405, "PATCH", "/api/v1/monitor", "{}").want(t, "errors.0", "Method Not Allowed")
	o.do(400, "POST", "/api/v1/monitor", "{")
	o.do(400, "POST", "/api/v1/monitor", "[]")
	o.do(400, "POST", "/api/v1/monitor", "null")
	o.do(413, "POST", "/api/v1/monitor", `{"name":"`+strings.Repeat("x", 11<<20)+`"}`)
}

func TestSinkHearsOfEveryChangeAndMayRefuse(t *testing.T) {
	o := newOrg(t)
	id := o.do(200, "POST", "/api/v1/monitor", monitor).at("id")
	o.do(200, "PUT", "/api/v1/monitor/"+id, `{"name":"other"}`)
	o.do(200, "DELETE", "/api/v1/monitor/"+id, "")
	want := []string{"put monitor " + id, "put monitor " + id, "delete monitor " + id}
	if strings.Join(o.told, ",") != strings.Join(want, ",") {
		t.Errorf("told %v, want %v", o.told, want)
	}
	o.refuse = errors.New("cannot evaluate that")
	o.do(400, "POST", "/api/v1/monitor", monitor).want(t, "errors.0", "cannot evaluate that")
	if n := len(o.api.Objects("monitor")); n != 0 {
		t.Errorf("%d monitors are stored though the sink refused", n)
	}
}

func TestCheckJudgesBodiesBySchema(t *testing.T) {
	var seen []string
	o := newOrg(t, func(opts *api.Options) {
		opts.Check = func(version, schema string, body []byte) error {
			seen = append(seen, version+" "+schema)
			if strings.Contains(string(body), "misspelt") {
				return errors.New("unknown key misspelt")
			}
			return nil
		}
	})
	id := o.do(200, "POST", "/api/v1/monitor", monitor).at("id")
	o.do(400, "PUT", "/api/v1/monitor/"+id, `{"misspelt":1}`).want(t, "errors.0", "unknown key misspelt")
	if got := strings.Join(seen, ","); got != "v1 Monitor,v1 MonitorUpdateRequest" {
		t.Errorf("checked %s", got)
	}
}

func TestFaults(t *testing.T) {
	post := func(r *http.Request) bool { return r.Method == http.MethodPost }
	for name, tc := range map[string]struct {
		fault api.Fault
		// status of the first and second create; 0 is a connection that ends.
		first, second int
		// made is how many monitors there are then.
		made int
	}{
		"refused before anything is done": {api.Fault{Match: post, Status: 503, Times: 1}, 503, 200, 1},
		"done, and the answer is lost":    {api.Fault{Match: post, Status: 504, Times: 1, After: true}, 504, 400, 1},
		"done, and the connection ends":   {api.Fault{Match: post, Times: 1, After: true}, 0, 400, 1},
		"ended before anything is done":   {api.Fault{Match: post, Times: 1}, 0, 200, 1},
		"for ever":                        {api.Fault{Match: post, Status: 500}, 500, 500, 0},
		"of no request":                   {api.Fault{Match: func(*http.Request) bool { return false }, Status: 500}, 200, 400, 1},
		"none":                            {api.Fault{}, 200, 400, 1},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrg(t)
			o.api.SetFault(tc.fault)
			for i, want := range []int{tc.first, tc.second} {
				if got, err := o.try("POST", "/api/v1/monitor", monitor); got.status != want || (err != nil) != (want == 0) {
					t.Errorf("create %d: %d %v, want %d", i+1, got.status, err, want)
				}
			}
			if n := len(o.api.Objects("monitor")); n != tc.made {
				t.Errorf("%d monitors, want %d", n, tc.made)
			}
		})
	}
}

func TestFaultHeaders(t *testing.T) {
	o := newOrg(t)
	o.api.SetFault(api.Fault{Status: 429, Times: 1, Header: map[string]string{"X-RateLimit-Reset": "7"}})
	r := o.do(429, "GET", "/api/v1/monitor", "")
	if got := r.header.Get("X-RateLimit-Reset"); got != "7" {
		t.Errorf("X-RateLimit-Reset is %q", got)
	}
	o.do(200, "GET", "/api/v1/monitor", "")
}

func TestRequestsAreCounted(t *testing.T) {
	o := newOrg(t)
	o.do(200, "GET", "/api/v1/monitor", "")
	o.do(200, "GET", "/api/v1/monitor?page=0", "")
	o.do(404, "DELETE", "/api/v1/monitor/1", "")
	got := fmt.Sprint(o.api.Requests())
	if want := "[{GET /api/v1/monitor 2} {DELETE /api/v1/monitor/1 1}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestUsers(t *testing.T) {
	o := newOrg(t)
	o.do(200, "GET", "/api/v2/users?filter=bob@example.com", "").want(t, "data.0.id", bob.ID, "data.0.attributes.email", "bob@example.com", "data.1", "nothing", "meta.page.total_filtered_count", "1")
	o.do(200, "GET", "/api/v2/users?page[size]=1&page[number]=1", "").want(t, "data.0.id", bob.ID, "data.1", "nothing", "meta.page.total_count", "2")
	o.do(200, "GET", "/api/v2/users/"+ann.ID, "").want(t, "data.attributes.name", "Ann")
	o.do(404, "GET", "/api/v2/users/nobody", "")
	o.do(200, "GET", "/api/v2/current_user", "").want(t, "data.id", ann.ID)
	o.do(400, "GET", "/api/v2/users?page[size]=many", "")
}
