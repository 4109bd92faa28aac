package settings_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/infra/assets/settings"
)

func env(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func TestLookup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lrcp.yaml")
	content := "settings:\n  slack_channel: '#a'\n  team: file\nfunctions:\n  qa: https://qa.example\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := settings.Load(file, env(map[string]string{
		"LRCP_SETTING_TEAM": "environment", "LRCP_SECRET_CONTROL": "s3cret", "LRCP_FUNCTION_INSIGHTS": "https://in.example",
	}))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		kind, name, want string
	}{
		"a setting of the file":              {"setting", "slack_channel", "#a"},
		"the environment wins":               {"setting", "team", "environment"},
		"a function of the file":             {"function", "qa.url", "https://qa.example"},
		"a function of the environment":      {"function", "insights.url", "https://in.example"},
		"a property that no function has":    {"function", "qa.arn", ""},
		"a secret of the environment":        {"secret", "control", "s3cret"},
		"a secret that is not there":         {"secret", "api_key", ""},
		"a setting is no secret":             {"secret", "slack_channel", ""},
		"a kind that is looked up elsewhere": {"user", "slack_channel", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := v.Lookup(tc.kind, tc.name)
			if got != tc.want || ok != (tc.want != "") {
				t.Errorf("got %q, %v, want %q", got, ok, tc.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := map[string]struct{ content, want string }{
		"an unknown setting of a cloud":    {"lambda: {regoin: a}\n", "lambda.regoin: there is no such setting"},
		"a setting of another cloud":       {"cloudrun: {dd_api_key_arn: a}\n", "cloudrun.dd_api_key_arn"},
		"what is no setting but a section": {"lambda: {region: {a: b}}\n", "into string"},
		"an unknown key":                   {"setings: {}\n", "setings"},
		"secrets in a file":                {"secrets: {control: x}\n", "LRCP_SECRET_CONTROL"},
		"every URL that is wrong":          {"functions: {a: x, b: 'https://b.example/'}\n", "functions.b"},
		"a function without host":          {"functions: {a: x, b: 'https://b.example/'}\n", `functions.a: "x" is no URL`},
		"what is no YAML document":         {"settings: [", "yaml: line"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := settings.Parse([]byte(tc.content), env(nil)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
	if _, err := settings.Load(filepath.Join(t.TempDir(), "none.yaml"), env(nil)); err == nil {
		t.Error("a file that is not there was read")
	}
	if _, err := settings.Load("", env(nil)); err != nil {
		t.Errorf("without a file: %v", err)
	}
}

func TestCloud(t *testing.T) {
	v, err := settings.Parse([]byte("lambda: {region: file, data_memory: 512, table_deletion_protection: true, log_level: ''}\n"),
		env(map[string]string{"LRCP_LAMBDA_REGION": "environment", "LRCP_CLOUDRUN_PROJECT": "acme"}))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"region": "environment", "data_memory": "512", "table_deletion_protection": "true"}
	if got := v.Cloud(settings.Lambda); !maps.Equal(got, want) {
		t.Errorf("lambda: %v, want %v", got, want)
	}
	if got := v.Cloud(settings.CloudRun); !maps.Equal(got, map[string]string{"project": "acme"}) {
		t.Errorf("cloudrun: %v", got)
	}
	if got := v.Cloud("elsewhere"); len(got) != 0 {
		t.Errorf("elsewhere: %v", got)
	}
}

func TestDeployedFunctionsWinOverTheFile(t *testing.T) {
	v, err := settings.Parse([]byte("functions: {qa: 'https://old.example', insights: 'https://in.example'}\n"),
		env(map[string]string{"LRCP_FUNCTION_COMPLETION": "https://mine.example"}))
	if err != nil {
		t.Fatal(err)
	}
	with := v.WithFunctions(map[string]string{"qa": "https://new.example", "completion": "https://theirs.example"})
	for name, want := range map[string]string{"qa": "https://new.example", "insights": "https://in.example", "completion": "https://mine.example"} {
		if got, _ := with.Lookup("function", name+".url"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got, _ := v.Lookup("function", "qa.url"); got != "https://old.example" {
		t.Errorf("the values of before changed to %q", got)
	}
	empty, err := settings.Parse(nil, env(nil))
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := empty.WithFunctions(map[string]string{"qa": "https://new.example"}).Lookup("function", "qa.url"); got != "https://new.example" {
		t.Errorf("without a file: %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("settings: {a: b}\nfunctions: {qa: 'https://qa.example'}\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := settings.Parse(raw, env(nil))
		if err == nil {
			v.Lookup("function", "qa.url")
		}
	})
}
