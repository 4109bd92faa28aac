package diff_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/assets/deploy/diff"
)

func decode(t *testing.T, s string) any {
	t.Helper()
	v, err := diff.Decode([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestCompare(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		want, have string
		// changes are the paths that differ.
		changes string
	}{
		"what a server adds is no difference":          {want: `{"a":1}`, have: `{"a":1,"id":7,"b":{"c":1}}`},
		"a value differs":                              {want: `{"a":{"b":1}}`, have: `{"a":{"b":2}}`, changes: "a.b"},
		"a value is missing":                           {want: `{"a":{"b":1,"c":2}}`, have: `{"a":{"c":2}}`, changes: "a.b"},
		"a type differs":                               {want: `{"a":"1"}`, have: `{"a":1}`, changes: "a"},
		"an object became a list":                      {want: `{"a":{"b":1}}`, have: `{"a":[]}`, changes: "a"},
		"what is empty may be left out":                {want: `{"a":null,"b":[],"c":{},"d":"","e":false,"f":0,"g":{"h":false}}`, have: `{}`},
		"null is like absence":                         {want: `{"a":null,"b":[]}`, have: `{"a":false,"b":null}`},
		"false is not true":                            {want: `{"a":false}`, have: `{"a":true}`, changes: "a"},
		"numbers compare by value":                     {want: `{"a":1,"b":0.10}`, have: `{"a":1.0,"b":1e-1}`},
		"long identifiers don't":                       {want: `{"a":9007199254740993}`, have: `{"a":9007199254740992}`, changes: "a"},
		"a number beyond all measure is a difference":  {want: `{"a":1e999999999}`, have: `{"a":1}`, changes: "a"},
		"times compare by instant":                     {want: `{"a":"2026-01-05T00:00:00Z"}`, have: `{"a":"2026-01-05T01:00:00.000+01:00"}`},
		"tags have no order":                           {want: `{"tags":["a","b"]}`, have: `{"tags":["b","a"]}`},
		"a tag too many is a difference":               {want: `{"tags":["a"]}`, have: `{"tags":["b","a"]}`, changes: "tags"},
		"other lists have an order":                    {want: `{"sources":["a","b"]}`, have: `{"sources":["b","a"]}`, changes: "sources[0] sources[1]"},
		"a list of values of another length":           {want: `{"sources":["a","b"]}`, have: `{"sources":["a"]}`, changes: "sources"},
		"objects in lists compare one by one":          {want: `{"l":[{"a":1},{"a":2}]}`, have: `{"l":[{"a":1,"id":1},{"a":3,"id":2},{"a":4}]}`, changes: "l[1].a l[2]"},
		"an object too few":                            {want: `{"l":[{"a":1},{"a":2}]}`, have: `{"l":[{"a":1}]}`, changes: "l[1]"},
		"a secret matches what is there":               {want: `{"a":"«secret»"}`, have: `{"a":"hunter2"}`},
		"a secret that is not shown":                   {want: `{"a":"«secret»","l":[{"v":"«secret»"}]}`, have: `{"l":[{"v":""}]}`},
		"the text around a secret must match":          {want: `{"a":"Bearer «secret»!"}`, have: `{"a":"Bearer hunter2!"}`},
		"the text around a secret differs":             {want: `{"a":"Bearer «secret»"}`, have: `{"a":"Basic hunter2"}`, changes: "a"},
		"two secrets in one text":                      {want: `{"a":"«secret» and «secret»."}`, have: `{"a":"x and y."}`},
		"what is before a secret is not also after it": {want: `{"a":"ab«secret»b"}`, have: `{"a":"ab"}`, changes: "a"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var paths []string
			for _, c := range diff.Compare(decode(t, test.want), decode(t, test.have)) {
				paths = append(paths, c.Path)
				if strings.Contains(test.want, diff.Hidden) && c.Old != nil && c.Old != diff.Hidden {
					t.Errorf("%s shows %v", c.Path, c.Old)
				}
			}
			if got := strings.Join(paths, " "); got != test.changes {
				t.Errorf("changes at %q, want %q", got, test.changes)
			}
		})
	}
}

func TestRemoved(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ before, want, have, changes string }{
		"a field that the server still shows":         {`{"a":1,"b":{"c":2}}`, `{"b":{}}`, `{"a":1,"b":{"c":2}}`, "a b.c"},
		"a field that is gone at the server too":      {`{"a":1}`, `{}`, `{}`, ""},
		"a default that the server shows as well":     {`{"a":false}`, `{}`, `{"a":false}`, ""},
		"a field of an object in a list":              {`{"l":[{"a":1,"b":2}]}`, `{"l":[{"a":1}]}`, `{"l":[{"a":1,"b":2}]}`, "l[0].b"},
		"what the server added itself was never ours": {`{"a":1}`, `{"a":1}`, `{"a":1,"b":2}`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var paths []string
			for _, c := range diff.Removed(decode(t, test.before), decode(t, test.want), decode(t, test.have)) {
				paths = append(paths, c.Path)
			}
			if got := strings.Join(paths, " "); got != test.changes {
				t.Errorf("removed %q, want %q", got, test.changes)
			}
		})
	}
}

func TestWithLeavesTheOriginal(t *testing.T) {
	t.Parallel()
	before := decode(t, `{"a":{"b":1},"c":2}`)
	for path, want := range map[string]string{"a.b": `{"a":{"b":"x"},"c":2}`, "d.e": `{"a":{"b":1},"c":2,"d":{"e":"x"}}`} {
		if d := cmp.Diff(decode(t, want), diff.With(before, path, "x")); d != "" {
			t.Errorf("with %s:\n%s", path, d)
		}
	}
	if d := cmp.Diff(decode(t, `{"a":{},"c":2}`), diff.With(before, "a.b", nil)); d != "" {
		t.Errorf("without a.b:\n%s", d)
	}
	if d := cmp.Diff(decode(t, `{"a":{"b":1},"c":2}`), before); d != "" {
		t.Errorf("the original changed:\n%s", d)
	}
}

func FuzzCompare(f *testing.F) {
	f.Add(`{"a":[1,{"b":"«secret»"}],"tags":["x"]}`, `{"a":[1.0,{}],"tags":["y"]}`)
	f.Add(`["«secret»a«secret»"]`, `["a"]`)
	f.Add(`1e400`, `"2026-01-05T00:00:00Z"`)
	f.Fuzz(func(t *testing.T, want, have string) {
		w, err := diff.Decode([]byte(want))
		if err != nil {
			return
		}
		h, err := diff.Decode([]byte(have))
		if err != nil {
			return
		}
		if changes := diff.Compare(w, w); len(changes) > 0 {
			t.Errorf("%s differs from itself: %v", want, changes)
		}
		changes := diff.Compare(w, h)
		if _, err := json.Marshal(changes); err != nil {
			t.Error(err)
		}
		diff.Removed(h, w, h)
	})
}
