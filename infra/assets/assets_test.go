package assets_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/datadog"
	"github.com/llm-reliability/control-plane/infra/assets"
)

func TestLoadReadsTheAssetsOfThisRepository(t *testing.T) {
	loaded, err := assets.Load(datadog.FS)
	if err != nil {
		t.Fatal(err)
	}
	made := map[assets.Ref]bool{}
	for _, a := range loaded {
		for _, r := range assets.Refs(a) {
			if assets.Kind(r.Kind).Known() && !made[r] {
				t.Errorf("%s comes before %s", a.File, r)
			}
		}
		made[assets.Ref{Kind: string(a.Kind), Name: a.Key}] = true
	}
	for _, a := range loaded {
		if a.Kind != assets.Monitor {
			continue
		}
		if page, err := datadog.FS.ReadFile("playbooks/" + a.Key + ".md"); err != nil || len(page) == 0 {
			t.Errorf("monitor %s has no playbook: %v", a.Key, err)
		}
		if !strings.Contains(string(a.Body), "datadog/playbooks/"+a.Key+".md") {
			t.Errorf("the message of monitor %s does not name its playbook", a.Key)
		}
	}
}

func TestLoadReportsEveryProblem(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	_, err := assets.Load(fstest.MapFS{
		"monitors/twice.json":  file(`{"options":{"a":1,"a":2}}`),
		"monitors/broken.json": file(`{"a":`),
		"monitors/after.json":  file(`{} {}`),
		"monitors/list.json":   file(`[]`),
		"monitors/bytes.json":  file("{\"a\":\"\xff\"}"),
		"monitors/gone.json":   file(`{"q":"${slo:gone}"}`),
		"monitors/kind.json":   file(`{"q":"${slos:latency}"}`),
		"monitors/name.json":   file(`{"q":"${setting:No Name}"}`),
		"slos/early.json":      file(`{"q":"${monitor:name}"}`),
		"widgets/unknown.json": file(`{}`),
		"playbooks/page.md":    file(`not an asset`),
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"monitors/twice.json: duplicate key options.a",
		"monitors/broken.json: not valid JSON",
		"monitors/after.json: text after the JSON object",
		"monitors/list.json: not a JSON object",
		"monitors/bytes.json: not valid UTF-8",
		"monitors/gone.json: ${slo:gone} names no asset file",
		"monitors/kind.json: ${slos:latency} is of no known kind",
		"monitors/name.json: ${setting:No Name} has a malformed name",
		"slos/early.json: ${monitor:name} names an asset that is made later",
		"widgets/unknown.json: the folder is of no known kind",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
}

func TestResolve(t *testing.T) {
	values := map[string]string{"setting a": `say "hi"` + "\n", "slo b": "123", "secret loop": "${slo:b}"}
	lookup := func(kind, name string) (string, bool) {
		v, ok := values[kind+" "+name]
		return v, ok
	}
	tests := map[string]struct {
		body, want string
		missing    []assets.Ref
	}{
		"values are escaped":                       {body: `{"x":"${setting:a}!"}`, want: `{"x":"say \"hi\"\n!"}`},
		"two in one string":                        {body: `{"x":["${slo:b}/${slo:b}"]}`, want: `{"x":["123/123"]}`},
		"a value is not resolved again":            {body: `{"x":"${secret:loop}"}`, want: `{"x":"${slo:b}"}`},
		"keys, numbers and expressions are left":   {body: `{"${slo:b}":1.50,"y":"${ $.Steps.A:b }","z":"<b>"}`, want: `{"${slo:b}":1.50,"y":"${ $.Steps.A:b }","z":"<b>"}`},
		"an escaped dollar is a placeholder too":   {body: `{"x":"\u0024{slo:b}"}`, want: `{"x":"123"}`},
		"every placeholder without value is named": {body: `{"x":"${slo:q} ${slo:b} ${setting:z}"}`, missing: []assets.Ref{{Kind: "setting", Name: "z"}, {Kind: "slo", Name: "q"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := assets.Resolve(assets.Asset{File: "f.json", Body: []byte(test.body)}, lookup)
			var missing *assets.Missing
			if errors.As(err, &missing) != (test.missing != nil) {
				t.Fatalf("error = %v, want missing %v", err, test.missing)
			}
			if missing != nil {
				if diff := cmp.Diff(test.missing, missing.Refs); diff != "" {
					t.Errorf("missing (-want +got):\n%s", diff)
				}
			}
			if string(got) != test.want {
				t.Errorf("body = %s, want %s", got, test.want)
			}
		})
	}
}

func FuzzResolve(f *testing.F) {
	f.Add([]byte(`{"a":"${slo:latency}","b":[1,{"c":null}]}`), `v"\`)
	f.Add([]byte(`{"a":"${slo:${slo:x}}"}`), "${slo:x}")
	f.Add([]byte(`{"a":1,"a":2}`), "")
	f.Fuzz(func(t *testing.T, body []byte, value string) {
		a := assets.Asset{File: "f.json", Body: body}
		got, err := assets.Resolve(a, func(string, string) (string, bool) { return value, true })
		if err != nil {
			return
		}
		if !json.Valid(got) {
			t.Fatalf("not JSON: %s", got)
		}
		var before, after map[string]json.RawMessage
		if err := json.Unmarshal(body, &before); err != nil {
			t.Fatalf("accepted what is not an object: %v", err)
		}
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatal(err)
		}
		if len(after) != len(before) {
			t.Errorf("%d keys became %d", len(before), len(after))
		}
	})
}
