package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/routes"
	"github.com/llm-reliability/control-plane/infra/assets/settings"
	"github.com/llm-reliability/control-plane/infra/cloudrun"
	"github.com/llm-reliability/control-plane/infra/cloudrun/manifest"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

// The secrets of these tests. None of them may be seen anywhere.
var deploySecrets = map[string]string{
	"DD_API_KEY": "secret-datadog-api-key", "DD_APP_KEY": "secret-datadog-app-key",
	"LRCP_SECRET_CONTROL": "secret-of-the-control-functions", "LRCP_SECRET_API_KEY": "secret-key-of-the-data-functions",
	"LRCP_API_KEYS": "secret-keys-of-all-callers", "LRCP_CONTROL_SECRETS": "secret-of-the-control-functions", "LRCP_PROBE_API_KEY": "secret-key-of-the-data-functions", "LRCP_ESCALATION_APP_KEY": "secret-key-of-escalation",
}

// version is what is deployed in these tests.
const version = "v1.2.3"

// toolsDir is where the stand-in is built, by the first test that needs it.
var toolsDir string

var tools = sync.OnceValues(func() (string, error) {
	path := filepath.Join(toolsDir, "tools")
	out, err := exec.Command("go", "build", "-o", path, "./testdata/tools").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the stand-in for tools: %w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) (status int) {
	var err error
	if toolsDir, err = os.MkdirTemp("", "lrcp-tools-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := os.RemoveAll(toolsDir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}()
	return m.Run()
}

// cloud is what a deployment works on in these tests: a checkout, the tools on a path of their own, the functions as servers
// on the loopback interface, and a stand-in for Datadog.
type cloud struct {
	state   string
	datadog *httptest.Server
	// refuse, when it is set, is a path that Datadog fails at.
	refuse string
	// sick is a function that is not well.
	sick string
	out  *bytes.Buffer
}

// call is one call of a tool.
type call struct {
	Argv, Env []string
	Stdin     string
}

func (c call) String() string { return strings.Join(c.Argv, " ") }

// mutates is whether a call changes something in the cloud.
func (c call) mutates() bool {
	line := c.String()
	if c.Argv[0] == "gcloud" {
		return !slices.ContainsFunc(c.Argv, func(word string) bool { return word == "list" || word == "describe" || word == "get-iam-policy" })
	}
	return !slices.ContainsFunc([]string{
		"go build ", "go list ", "npx --no-install osls package ", "aws sts get-caller-identity ", "aws secretsmanager describe-secret ", "aws secretsmanager get-secret-value ",
		"aws cloudformation describe-stacks ", "aws cloudformation get-template ", "aws cloudformation list-stack-resources ",
		"aws cloudformation wait ", "aws lambda get-function-configuration ",
	}, func(known string) bool { return strings.HasPrefix(line, known) })
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	path, err := tools()
	if err != nil {
		t.Fatal(err)
	}
	root, bin := t.TempDir(), t.TempDir()
	for _, name := range []string{"go", "node", "npx", "aws", "gcloud"} {
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	c := &cloud{state: t.TempDir(), out: &bytes.Buffer{}}
	c.write(t, filepath.Join(root, "serverless.yml"), "")
	c.write(t, filepath.Join(root, "node_modules", "osls", "package.json"), "{}")
	c.write(t, filepath.Join(root, "assets", "monitors", "slow.json"),
		`{"name":"Slow","type":"query alert","query":"avg(last_5m):avg:llm.request.duration{*} > 1","message":"ask ${function:qa.url}/health ${setting:channel}"}`)
	for _, name := range []string{"go.mod", "go.sum", "infra/cloudrun/Dockerfile", "infra/cloudrun/cloudbuild.yaml"} {
		c.write(t, filepath.Join(root, name), "")
	}
	c.write(t, filepath.Join(root, "infra", "trim", "cmd", "main.go"), "package main")
	c.write(t, filepath.Join(root, "infra", "timerslack", "main.go"), "package main")
	urls := map[string]string{}
	for _, name := range routes.Functions() {
		c.write(t, filepath.Join(root, "functions", name, "cmd", "main.go"), "package main")
		if name == "probe" {
			continue // It has no URL on Lambda.
		}
		server := httptest.NewServer(c.function(name))
		t.Cleanup(server.Close)
		urls[name] = server.URL
	}
	raw, err := json.Marshal(urls)
	if err != nil {
		t.Fatal(err)
	}
	c.set(t, "urls.json", string(raw))
	file := "settings: {channel: '#llm'}\ncloudrun: {project: acme-llm, region: europe-west1}\nlambda:\n  region: eu-central-1\n  google_project: p\n  google_location: europe-west1\n" +
		"  google_credentials: '{\"type\":\"external_account\"}'\n"
	var arns []string
	for _, name := range []string{"dd_api_key_arn", "dd_app_key_arn", "escalation_app_key_arn", "api_keys_arn", "control_secrets_arn", "probe_key_arn"} {
		arn := "arn:aws:secretsmanager:eu-central-1:123456789012:secret:lrcp/" + name + "-AbCdEf"
		arns = append(arns, arn)
		file += "  " + name + ": " + arn + "\n"
	}
	c.set(t, "secrets", strings.Join(arns, "\n"))
	c.write(t, filepath.Join(root, "settings.yaml"), file)
	inner := standIn(t).Config.Handler
	c.datadog = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.refuse != "" && r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, c.refuse) {
			http.Error(w, `{"errors":["the stand-in was told to refuse"]}`, http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(c.datadog.Close)
	for name, value := range deploySecrets {
		t.Setenv(name, value)
	}
	t.Setenv("TOOLS_STATE", c.state)
	t.Setenv("PATH", bin)
	t.Chdir(root)
	return c
}

func (c *cloud) write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// set sets a part of the state of the tools.
func (c *cloud) set(t *testing.T, name, content string) {
	t.Helper()
	c.write(t, filepath.Join(c.state, name), content)
}

// function is a deployed function, as far as a smoke test sees it.
func (c *cloud) function(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		route, ok := routes.Find(name, r.Method, r.URL.Path)
		switch {
		case c.sick == name:
			w.WriteHeader(http.StatusBadGateway)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		case route.Path == "/health":
			_ = json.NewEncoder(w).Encode(serverless.HealthDocument{Status: "ok", Function: name, Version: version, ControlState: "reachable"})
		case route.Auth == routes.Control && bearer != deploySecrets["LRCP_SECRET_CONTROL"],
			route.Auth == routes.APIKey && bearer != deploySecrets["LRCP_SECRET_API_KEY"]:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			_, _ = w.Write([]byte(`{"answer":"1732"}`))
		}
	})
}

// calls returns the calls of the tools since the last time, and forgets them.
func (c *cloud) calls(t *testing.T) (all []call) {
	t.Helper()
	path := filepath.Join(c.state, "calls.jsonl")
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		var one call
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	return all
}

// mutations returns the verbs of the calls that changed something: "osls deploy". It looks for secrets on the way.
func (c *cloud) mutations(t *testing.T) []string {
	t.Helper()
	out := []string{}
	for _, one := range c.calls(t) {
		for name, secret := range deploySecrets {
			if strings.Contains(one.String(), secret) || strings.Contains(one.Stdin, secret) && !strings.HasPrefix(one.String(), "gcloud secrets create ") {
				t.Errorf("%s is in a call: %s", name, one)
			}
			if slices.Contains(one.Env, name) && one.Argv[0] != "go" {
				t.Errorf("%s got %s, which it does not need", one.Argv[0], name)
			}
		}
		switch {
		case !one.mutates():
		case one.Argv[0] == "gcloud":
			out = append(out, strings.Join(one.Argv[1:4], " "))
		default:
			out = append(out, strings.Join(one.Argv[2:4], " "))
		}
	}
	return out
}

// lrcp runs the program with the flags that all these deployments have.
func (c *cloud) lrcp(t *testing.T, more ...string) (said string, status int) {
	t.Helper()
	return c.run(t, t.Context(), slices.Concat([]string{
		"deploy", "lambda", "--stage", "test", "--settings", "settings.yaml", "--dir", "assets", "--api", c.datadog.URL, "--version", version, "--wait", "0s",
	}, more))
}

// run runs the program, and looks for secrets in what it says.
func (c *cloud) run(t *testing.T, ctx context.Context, args []string) (said string, status int) { //nolint:revive // t comes first in a helper of tests.
	t.Helper()
	c.out.Reset()
	err := run(ctx, args, c.out, c.out)
	said = c.out.String()
	if ended, ok := errors.AsType[exitStatus](err); ok {
		status = int(ended)
	} else if err != nil {
		said, status = said+err.Error(), 1
	}
	for name, secret := range deploySecrets {
		if strings.Contains(said, secret) {
			t.Errorf("%s is shown:\n%s", name, said)
		}
	}
	return said, status
}

// must fails unless what was said has all the words, and the status is right.
func must(t *testing.T, said string, status, want int, words ...string) {
	t.Helper()
	if status != want {
		t.Fatalf("status %d, want %d:\n%s", status, want, said)
	}
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("no %q in:\n%s", w, said)
		}
	}
}

// same fails unless the calls that changed something are these.
func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("changed something: %q, want %q", got, want)
	}
}

func TestDeployFromNothingToDestroyed(t *testing.T) {
	c := newCloud(t)

	said, status := c.lrcp(t, "--dry-run")
	must(t, said, status, 0, "+ create stack llm-reliability-control-plane-test", "+ QaLambdaFunction (AWS::Lambda::Function)",
		"$ aws sts get-caller-identity", "$ npx --no-install osls deploy --stage test --region eu-central-1", "--param version=v1.2.3",
		"in account 123456789012, eu-central-1", "create monitor/slow", "these have no URL yet, and are placeholders in the assets until they have: qa")
	same(t, c.mutations(t))

	said, status = c.lrcp(t, "--yes")
	must(t, said, status, 0, "+ create stack llm-reliability-control-plane-test", "FUNCTION", "qa ", "refuses strangers, answers",
		"knows the control secret", "probe", "called by its schedule only", version)
	same(t, c.mutations(t), "osls deploy")
	if message := c.monitorMessage(t); !strings.HasPrefix(message, "ask http://127.0.0.1:") || !strings.HasSuffix(message, "/health #llm") {
		t.Errorf("the message of the monitor is %q, want the URL of qa in it", message)
	}

	said, status = c.lrcp(t)
	must(t, said, status, 0, "Nothing to change", "= unchanged stack llm-reliability-control-plane-test", "answers")
	same(t, c.mutations(t))

	said, status = c.lrcp(t, "--dry-run")
	must(t, said, status, 0, "Nothing to change")
	same(t, c.mutations(t))

	c.set(t, "code/qa", "other code")
	said, status = c.lrcp(t, "--yes")
	must(t, said, status, 0, "~ update stack", "~ code of qa: sha256", "1 to update")
	if strings.Contains(said, "code of completion") {
		t.Errorf("code that did not change:\n%s", said)
	}
	same(t, c.mutations(t), "osls deploy")

	t.Setenv("LRCP_LAMBDA_DATA_MEMORY", "1024")
	said, status = c.lrcp(t, "--dry-run")
	must(t, said, status, 0, `~ QaLambdaFunction (AWS::Lambda::Function): Environment.Variables.data_memory: "1024"`)
	same(t, c.mutations(t))

	said, status = c.lrcp(t, "--destroy", "--dry-run")
	must(t, said, status, 0, "- delete stack llm-reliability-control-plane-test", "- QaLambdaFunction", "osls remove", "delete monitor/slow",
		"note: AWS::DynamoDB::Table physical-StateTable stays", "aws dynamodb delete-table --table-name physical-StateTable")
	same(t, c.mutations(t))

	said, status = c.lrcp(t, "--destroy", "--yes")
	must(t, said, status, 0, "- delete stack llm-reliability-control-plane-test")
	same(t, c.mutations(t), "osls remove")

	said, status = c.lrcp(t, "--destroy", "--yes")
	must(t, said, status, 0, "Nothing to change")
	same(t, c.mutations(t))
}

// monitorMessage returns what the monitor at Datadog says.
func (c *cloud) monitorMessage(t *testing.T) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.datadog.URL+"/api/v1/monitor", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Dd-Api-Key": {"a"}, "Dd-Application-Key": {"b"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}()
	var monitors []struct{ Message string }
	if err := json.NewDecoder(resp.Body).Decode(&monitors); err != nil || len(monitors) != 1 {
		t.Fatalf("%d monitors, error %v", len(monitors), err)
	}
	return monitors[0].Message
}

func TestDeployListsEverythingThatIsMissingAndRunsNothing(t *testing.T) {
	c := newCloud(t)
	t.Setenv("PATH", t.TempDir())
	for name := range deploySecrets {
		t.Setenv(name, "")
	}
	said, status := c.run(t, t.Context(), []string{"deploy", "lambda", "--stage", "test", "--root", t.TempDir(), "--dir", "assets"})
	must(t, said, status, 1, "nothing was touched", "go is not installed", "node is not installed", "npx is not installed", "aws is not installed",
		"there is no serverless.yml here", "there is no version", "lambda.dd_api_key_arn is not set", "LRCP_LAMBDA_PROBE_KEY_ARN", "lambda.google_project",
		"no AWS region", "DD_API_KEY is not set", "DD_APP_KEY is not set", "the assets' setting channel is not set")
	if calls := c.calls(t); len(calls) > 0 {
		t.Errorf("calls %v", calls)
	}
}

func TestDeployRefusesWhatCanNotWork(t *testing.T) {
	tests := map[string]struct {
		prepare func(t *testing.T, c *cloud)
		args    []string
		want    string
	}{
		"a stage in capitals":              {args: []string{"--stage", "Prod"}, want: `--stage "Prod"`},
		"a stage that begins with a digit": {args: []string{"--stage", "1st"}, want: `--stage "1st"`},
		"a stage that is too long":         {args: []string{"--stage", "abcdefghijklmnopq"}, want: "16 at most"},
		"a stage that ends with a dash":    {args: []string{"--stage", "a-"}, want: "no dash at the end"},
		"a stage that is a shell's":        {args: []string{"--stage", "a;b"}, want: `--stage "a;b"`},
		"a wait below zero":                {args: []string{"--wait=-1s"}, want: "--wait"},
		"no credentials": {
			prepare: func(t *testing.T, c *cloud) { c.set(t, "fail", "get-caller-identity") },
			want:    "no AWS credentials that work: AccessDenied",
		},
		"a secret that does not exist": {
			prepare: func(t *testing.T, c *cloud) { c.set(t, "secrets", "") },
			want:    "lambda.probe_key_arn: the secret arn:aws:secretsmanager:eu-central-1:123456789012:secret:lrcp/probe_key_arn-AbCdEf can't be seen",
		},
		"a secret instead of its ARN": {
			prepare: func(t *testing.T, _ *cloud) {
				t.Setenv("LRCP_LAMBDA_API_KEYS_ARN", deploySecrets["LRCP_SECRET_API_KEY"])
			},
			want: "lambda.api_keys_arn is no complete ARN",
		},
		"a key of a service account": {
			prepare: func(t *testing.T, _ *cloud) {
				t.Setenv("LRCP_LAMBDA_GOOGLE_CREDENTIALS", `{"type":"service_account","private_key":"secret-key-of-the-data-functions"}`)
			},
			want: "lambda.google_credentials is the key of a service account",
		},
		"a config that is no file": {
			prepare: func(t *testing.T, _ *cloud) { t.Setenv("LRCP_LAMBDA_GOOGLE_CREDENTIALS", "no-such-file.json") },
			want:    "no-such-file.json",
		},
		"Datadog that does not let us look": {
			prepare: func(_ *testing.T, c *cloud) { c.datadog.Close() },
			want:    "nothing was changed: plan assets at",
		},
		"code that does not build": {
			prepare: func(t *testing.T, c *cloud) { c.set(t, "fail", "./functions/qa/cmd") },
			want:    "nothing was changed: bundle: build function qa",
		},
		"a template that can't be packaged": {
			prepare: func(t *testing.T, c *cloud) { c.set(t, "fail", "osls package") },
			want:    "nothing was changed: npx --no-install osls package ",
		},
		"a stack that can't be seen": {
			prepare: func(t *testing.T, c *cloud) { c.set(t, "fail", "describe-stacks") },
			want:    "AccessDenied",
		},
		"an update that could not be rolled back": {
			prepare: func(t *testing.T, c *cloud) {
				c.set(t, "stack.json", `{"Status":"UPDATE_ROLLBACK_FAILED","Template":{}}`)
			},
			want: "aws cloudformation continue-update-rollback --stack-name llm-reliability-control-plane-test",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			if tc.prepare != nil {
				tc.prepare(t, c)
			}
			said, status := c.lrcp(t, append(tc.args, "--yes")...)
			must(t, said, status, 1, tc.want)
			same(t, c.mutations(t))
		})
	}
}

func TestDeployAsksBeforeItChangesAnything(t *testing.T) {
	for answer, want := range map[string]struct {
		status int
		word   string
		calls  []string
	}{
		"n\n": {1, "not done", nil},
		"":    {1, "say --yes", nil},
		"y\n": {0, "FUNCTION", []string{"osls deploy"}},
	} {
		t.Run(fmt.Sprintf("%q", answer), func(t *testing.T) {
			c := newCloud(t)
			typed(t, answer)
			said, status := c.lrcp(t)
			must(t, said, status, want.status, "Go on? [y/N]", want.word)
			same(t, c.mutations(t), want.calls...)
		})
	}
}

// typed makes a text what a person types.
func typed(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "typed")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stdin
	os.Stdin = f
	t.Cleanup(func() {
		os.Stdin = before
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
}

// goOn returns the arguments of the command to go on with.
func goOn(t *testing.T, said string) []string {
	t.Helper()
	_, after, ok := strings.Cut(said, "to go on:\n  lrcp ")
	if !ok {
		t.Fatalf("no command to go on with:\n%s", said)
	}
	line, _, _ := strings.Cut(after, "\n")
	return strings.Fields(line)
}

// TestDeployGoesOnAfterAFailure lets each step fail, and runs the command that is then recommended.
func TestDeployGoesOnAfterAFailure(t *testing.T) {
	const stackStep, assetsStep, smokeStep = "  stack llm-reliability-control-plane-test", "  assets at http-127.0.0.1", "  smoke test"
	tests := map[string]struct {
		breaks, mend func(t *testing.T, c *cloud)
		want         []string
		mutations    []string
		then         []string
	}{
		"the stack, before anything was done": {
			breaks: func(t *testing.T, c *cloud) { c.set(t, "fail", "osls deploy") },
			mend:   func(t *testing.T, c *cloud) { c.set(t, "fail", "") },
			want: []string{
				"done:\n  nothing\n", "failed, and perhaps done in part:\n" + stackStep + ": ", "AccessDenied",
				"not done:\n" + assetsStep, smokeStep,
			},
			mutations: []string{"osls deploy"},
			then:      []string{"osls deploy"},
		},
		"the stack, when all was done": {
			breaks:    func(t *testing.T, c *cloud) { c.set(t, "fail", "after osls deploy") },
			mend:      func(t *testing.T, c *cloud) { c.set(t, "fail", "") },
			want:      []string{"done:\n  nothing\n", stackStep + ": ", "not done:\n" + assetsStep},
			mutations: []string{"osls deploy"},
			then:      nil,
		},
		"the removal of a stack whose creation failed": {
			breaks: func(t *testing.T, c *cloud) {
				c.set(t, "stack.json", `{"Status":"ROLLBACK_COMPLETE","Template":{}}`)
				c.set(t, "fail", "osls remove")
			},
			mend:      func(t *testing.T, c *cloud) { c.set(t, "fail", "") },
			want:      []string{"done:\n  nothing\n", "  failed stack llm-reliability-control-plane-test: ", "not done:\n" + stackStep},
			mutations: []string{"osls remove"},
			then:      []string{"osls remove", "osls deploy"},
		},
		"the assets": {
			breaks:    func(_ *testing.T, c *cloud) { c.refuse = "/api/v1/monitor" },
			mend:      func(_ *testing.T, c *cloud) { c.refuse = "" },
			want:      []string{"done:\n" + stackStep + "\n", "done in part:\n" + assetsStep, "monitor/slow", "not done:\n" + smokeStep},
			mutations: []string{"osls deploy"},
		},
		"a function that is not well": {
			breaks:    func(_ *testing.T, c *cloud) { c.sick = "insights" },
			mend:      func(_ *testing.T, c *cloud) { c.sick = "" },
			want:      []string{"done:\n" + stackStep + "\n" + assetsStep, "FAILED: GET /health: status 502", smokeStep + ": insights: ", "not done:\n  nothing"},
			mutations: []string{"osls deploy"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			tc.breaks(t, c)
			said, status := c.lrcp(t, "--yes")
			must(t, said, status, 1, tc.want...)
			same(t, c.mutations(t), tc.mutations...)

			tc.mend(t, c)
			said, status = c.run(t, t.Context(), goOn(t, said))
			must(t, said, status, 0, "refuses strangers, answers")
			same(t, c.mutations(t), tc.then...)

			said, status = c.lrcp(t)
			must(t, said, status, 0, "Nothing to change")
			same(t, c.mutations(t))
		})
	}
}

// onWord cancels when a word is written.
type onWord struct {
	bytes.Buffer
	word   string
	cancel func()
}

func (o *onWord) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(o.word)) {
		o.cancel()
	}
	return o.Buffer.Write(p)
}

// TestDeployGoesOnAfterAnInterrupt interrupts while CloudFormation works, which goes on in the cloud.
func TestDeployGoesOnAfterAnInterrupt(t *testing.T) {
	for verb, flags := range map[string][]string{"deploy": {"--yes"}, "remove": {"--yes", "--destroy"}} {
		t.Run(verb, func(t *testing.T) {
			c := newCloud(t)
			if verb == "remove" {
				said, status := c.lrcp(t, "--yes")
				must(t, said, status, 0)
				c.mutations(t)
			}
			c.set(t, "hold", "osls "+verb)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out := &onWord{word: "holding", cancel: cancel}
			args := slices.Concat([]string{
				"deploy", "lambda", "--stage", "test", "--settings", "settings.yaml", "--dir", "assets", "--api", c.datadog.URL, "--version", version, "--wait", "0s",
			}, flags)
			err := run(ctx, args, out, out)
			if !errors.Is(err, statusFailed) {
				t.Fatalf("error %v:\n%s", err, out.String())
			}
			must(t, out.String(), 1, 1, "failed, and perhaps done in part:\n  stack ", "context canceled", "to go on:")
			same(t, c.mutations(t), "osls "+verb)

			c.set(t, "hold", "")
			said, status := c.run(t, t.Context(), goOn(t, out.String()))
			must(t, said, status, 0, "waiting for CloudFormation: stack llm-reliability-control-plane-test is ", "_IN_PROGRESS")
			same(t, c.mutations(t))
		})
	}
}

func TestDeployCanBeInterruptedAtTheQuestion(t *testing.T) {
	c := newCloud(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stdin
	os.Stdin = read
	t.Cleanup(func() {
		os.Stdin = before
		if err := errors.Join(write.Close(), read.Close()); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &onWord{word: "Go on?", cancel: cancel}
	err = run(ctx, []string{"deploy", "lambda", "--stage", "test", "--settings", "settings.yaml", "--skip-assets", "--version", version}, out, out)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("error %v", err)
	}
	same(t, c.mutations(t))
}

func TestDeployWithoutAssetsLeavesDatadogAlone(t *testing.T) {
	c := newCloud(t)
	c.datadog.Close()
	for name := range maps.Keys(deploySecrets) {
		t.Setenv(name, "")
	}
	said, status := c.lrcp(t, "--yes", "--skip-assets")
	must(t, said, status, 0, "not asked: LRCP_SECRET_API_KEY is not set")
	same(t, c.mutations(t), "osls deploy")
	c.set(t, "probe-key", deploySecrets["LRCP_PROBE_API_KEY"])
	said, status = c.lrcp(t, "--skip-assets")
	must(t, said, status, 0, "refuses strangers, answers")
	said, status = c.lrcp(t, "--yes", "--skip-assets", "--destroy")
	must(t, said, status, 0, "- delete stack")
	same(t, c.mutations(t), "osls remove")
}

func TestSmokeTestFindsWhatIsNotAsItShouldBe(t *testing.T) {
	tests := map[string]struct {
		prepare func(t *testing.T, c *cloud)
		want    string
	}{
		"another version": {
			prepare: func(t *testing.T, c *cloud) { c.serve(t, "qa", `{"status":"ok","function":"qa","version":"v0"}`, 200) },
			want:    "version v0, and v1.2.3 was deployed",
		},
		"another function": {
			prepare: func(t *testing.T, c *cloud) { c.serve(t, "qa", `{"status":"ok","function":"completion"}`, 200) },
			want:    `it is the function "completion"`,
		},
		"no control state": {
			prepare: func(t *testing.T, c *cloud) {
				c.serve(t, "qa", `{"status":"degraded","function":"qa","control_state":"unreachable"}`, 200)
			},
			want: "the control state is unreachable",
		},
		"everybody is let in": {
			prepare: func(t *testing.T, c *cloud) { c.serve(t, "qa", `{"status":"ok","function":"qa"}`, 200) },
			want:    "POST /qa without a key: status 200, want 401",
		},
		"a page that is no JSON": {
			prepare: func(t *testing.T, c *cloud) { c.serve(t, "qa", "<html>", 200) },
			want:    "GET /health: status 200",
		},
		"another control secret": {
			prepare: func(t *testing.T, _ *cloud) { t.Setenv("LRCP_SECRET_CONTROL", "an-old-one") },
			want:    "GET /insights refuses LRCP_SECRET_CONTROL",
		},
		"another key": {
			prepare: func(t *testing.T, _ *cloud) { t.Setenv("LRCP_SECRET_API_KEY", "an-old-one") },
			want:    "POST /qa refuses LRCP_SECRET_API_KEY",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			tc.prepare(t, c)
			said, status := c.lrcp(t, "--yes", "--skip-assets")
			must(t, said, status, 1, "smoke test: ", tc.want)
		})
	}
}

// serve makes a function answer everything with the same.
func (c *cloud) serve(t *testing.T, function, body string, status int) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	path := filepath.Join(c.state, "urls.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	urls := map[string]string{}
	if err := json.Unmarshal(raw, &urls); err != nil {
		t.Fatal(err)
	}
	urls[function] = server.URL
	if raw, err = json.Marshal(urls); err != nil {
		t.Fatal(err)
	}
	c.set(t, "urls.json", string(raw))
}

// runApp leads what is sent to addresses of Cloud Run to the functions.
type runApp struct {
	cloud *cloud
	other http.RoundTripper
}

func (r runApp) RoundTrip(req *http.Request) (*http.Response, error) {
	name, ok := strings.CutSuffix(req.URL.Host, "-123456789012.europe-west1.run.app")
	if !ok {
		return r.other.RoundTrip(req)
	}
	answer := httptest.NewRecorder()
	r.cloud.function(strings.TrimPrefix(name, "lrcp-test-")).ServeHTTP(answer, req)
	return answer.Result(), nil
}

func TestDeployToCloudRun(t *testing.T) {
	c := newCloud(t)
	before := http.DefaultTransport
	http.DefaultTransport = runApp{c, before}
	t.Cleanup(func() { http.DefaultTransport = before })
	lrcp := func(more ...string) (string, int) {
		return c.run(t, t.Context(), slices.Concat([]string{
			"deploy", "cloudrun", "--stage", "test", "--settings", "settings.yaml", "--dir", "assets", "--api", c.datadog.URL, "--version", version, "--wait", "0s",
		}, more))
	}

	said, status := lrcp("--dry-run")
	must(t, said, status, 0, "+ create APIs", "$ gcloud auth list", "$ gcloud secrets create lrcp-test-api-keys", "+ create service lrcp-test-qa", "these have no URL yet, and are placeholders in the assets until they have: qa")
	same(t, c.mutations(t))

	// It fails half-way: the second service can't be made.
	c.set(t, "fail", "run services replace build/cloudrun/test/completion.yaml")
	said, status = lrcp("--yes")
	must(t, said, status, 1, "done:\n  APIs\n", "  service lrcp-test-qa\nfailed, and perhaps done in part:\n  service lrcp-test-completion: ", "not done:\n  service lrcp-test-remediation\n",
		"  smoke test\nto go on:\n  lrcp deploy cloudrun --stage test ")
	c.mutations(t)
	c.set(t, "fail", "")
	said, status = c.run(t, t.Context(), goOn(t, said))
	must(t, said, status, 0, "= unchanged service lrcp-test-qa", "+ create service lrcp-test-completion", "https://lrcp-test-probe-123456789012.europe-west1.run.app", "refuses strangers, answers")
	var services, jobs []string
	for _, f := range manifest.Functions()[1:] { // the first one was made before
		services = append(services, "run services replace")
		if f.Job != nil {
			jobs = append(jobs, "scheduler jobs create")
		}
	}
	same(t, c.mutations(t), append(services, jobs...)...)
	if message := c.monitorMessage(t); message != "ask https://lrcp-test-qa-123456789012.europe-west1.run.app/health #llm" {
		t.Errorf("the message of the monitor is %q, want the URL of qa in it", message)
	}

	said, status = lrcp()
	must(t, said, status, 0, "Nothing to change")
	same(t, c.mutations(t))

	said, status = lrcp("--destroy", "--yes")
	must(t, said, status, 0, "- delete service lrcp-test-qa", "note: kept: the secrets")
	if changed := c.mutations(t); len(changed) == 0 || changed[0] != "scheduler jobs delete" {
		t.Errorf("changed something: %q", changed)
	}
	said, status = lrcp("--destroy", "--yes")
	must(t, said, status, 0, "Nothing to change")
	same(t, c.mutations(t))
}

func TestDeployToCloudRunListsWhatIsMissing(t *testing.T) {
	c := newCloud(t)
	t.Setenv("PATH", t.TempDir())
	for name := range deploySecrets {
		t.Setenv(name, "")
	}
	said, status := c.run(t, t.Context(), []string{"deploy", "cloudrun", "--stage", "test", "--root", t.TempDir(), "--dir", "assets"})
	must(t, said, status, 1, "nothing was touched", "gcloud is not installed", "there is no project", "there is no region", "there is no go.mod here",
		"the variable LRCP_API_KEYS is not set", "DD_API_KEY is not set")
	if calls := c.calls(t); len(calls) > 0 {
		t.Errorf("calls %v", calls)
	}
}

// TestEverySettingOfCloudRunIsAParameter holds the settings file against what the deployment reads.
func TestEverySettingOfCloudRunIsAParameter(t *testing.T) {
	var known []string
	for _, k := range settings.Keys(settings.CloudRun) {
		if k.Name != "region" {
			known = append(known, k.Name)
		}
	}
	want := slices.DeleteFunc(cloudrun.Params(), func(name string) bool { return name == "site" || name == "version" })
	slices.Sort(want)
	slices.Sort(known)
	if diff := cmp.Diff(want, known); diff != "" {
		t.Errorf("parameters - settings +:\n%s", diff)
	}
}
