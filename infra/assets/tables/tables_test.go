package tables_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/datadog"
	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/tables"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

var update = flag.Bool("update", false, "write the tables into the README")

const readme = "../../../README.md"

func TestReadmeIsTrue(t *testing.T) {
	loaded, err := assets.Load(datadog.FS)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	want := string(raw)
	for name, table := range map[string]string{
		"metrics": tables.Metrics(telemetry.Catalogue()),
		"assets":  tables.Assets(append(assets.Metrics(telemetry.Catalogue()), loaded...)),
	} {
		if want, err = tables.Replace(want, name, table); err != nil {
			t.Fatal(err)
		}
	}
	if *update {
		if err := os.WriteFile(readme, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Errorf("the README is not what the files say; go test ./infra/assets/tables -update writes it (-want +got):\n%s", diff)
	}
}

func TestAssetsCountsOneOfSeveralForms(t *testing.T) {
	got := tables.Assets([]assets.Asset{
		{Kind: assets.Archive, Key: "all", Variant: "s3", Body: []byte(`{"data":{"attributes":{"name":"All logs"}}}`)},
		{Kind: assets.Archive, Key: "all", Variant: "gcs", Body: []byte(`{"data":{"attributes":{"name":"All logs"}}}`)},
		{Kind: assets.Monitor, Key: "b", Body: []byte(`{"name":"B"}`)},
		{Kind: assets.Monitor, Key: "a", Body: []byte(`{"name":"${setting:x}"}`)},
		{Kind: assets.Dashboard, Key: "d", Body: []byte(`{"title":"D"}`)},
	})
	want := "| kind | number | which |\n| --- | --- | --- |\n| archive | 1 | All logs |\n| monitor | 2 | B · a |\n| dashboard | 1 | D |\n| all | 4 | |\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestReplace(t *testing.T) {
	tests := map[string]struct{ document, want, failure string }{
		"a table in its place": {document: "a\n<!-- x: made by y -->\nold\n<!-- end of x -->\nb", want: "a\n<!-- x: made by y -->\nnew\n<!-- end of x -->\nb"},
		"no place":             {document: "a", failure: "no place"},
		"a place without end":  {document: "<!-- end of x --><!-- x: made by y -->\n", failure: "does not end"},
		"a mark without end":   {document: "<!-- x: made by y", failure: "does not end"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tables.Replace(tc.document, "x", "new\n")
			if (err != nil) != (tc.failure != "") || err != nil && !strings.Contains(err.Error(), tc.failure) {
				t.Fatalf("error %v, want %q", err, tc.failure)
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
