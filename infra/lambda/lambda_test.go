package lambda_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/routes"
	"github.com/llm-reliability/control-plane/infra/assets/settings"
	"github.com/llm-reliability/control-plane/infra/deploy"
	"github.com/llm-reliability/control-plane/infra/lambda"
)

func TestCompare(t *testing.T) {
	function := func(key, memory, environment string) string {
		return fmt.Sprintf(`"F":{"Type":"AWS::Lambda::Function","Properties":{"Code":{"S3Key":%q},"MemorySize":%s,"Environment":{"Variables":{%s}}}}`, key, memory, environment)
	}
	resources := func(list ...string) string { return `{"Resources":{` + strings.Join(list, ",") + `}}` }
	const queue = `"Q":{"Type":"AWS::SQS::Queue"}`
	tests := map[string]struct {
		deployed, generated string
		want                []string
	}{
		"nothing but where the code lies": {deployed: resources(function("1.zip", "256", "")), generated: resources(function("2.zip", "256", ""))},
		"a property":                      {deployed: resources(function("1", "256", "")), generated: resources(function("2", "512", "")), want: []string{"~ F (AWS::Lambda::Function): MemorySize: 256 → 512"}},
		"a variable that is new":          {deployed: resources(function("1", "1", `"A":"a"`)), generated: resources(function("2", "1", `"A":"a","B":"b"`)), want: []string{`~ F (AWS::Lambda::Function): Environment.Variables.B: "b"`}},
		"a variable that goes":            {deployed: resources(function("1", "1", `"A":"a"`)), generated: resources(function("2", "1", "")), want: []string{`~ F (AWS::Lambda::Function): Environment.Variables.A: "a" → (removed)`}},
		"a resource that is new":          {deployed: resources(function("1", "1", "")), generated: resources(function("2", "1", ""), queue), want: []string{"+ Q (AWS::SQS::Queue)"}},
		"a resource that goes":            {deployed: resources(function("1", "1", ""), queue), generated: resources(function("2", "1", "")), want: []string{"- Q (AWS::SQS::Queue)"}},
		"a new stack":                     {deployed: "{}", generated: `{"Description":"d","Resources":{` + queue + `}}`, want: []string{"+ Q (AWS::SQS::Queue)"}},
		"an output":                       {deployed: resources(queue), generated: `{"Outputs":{"U":{"Value":"v"}},"Resources":{` + queue + `}}`, want: []string{`~ Outputs: {"U":{"Value":"v"}}`}},
		"where the code of something else lies": {
			deployed:  resources(`"L":{"Type":"AWS::Other","Properties":{"Code":{"S3Key":"1"}}}`),
			generated: resources(`"L":{"Type":"AWS::Other","Properties":{"Code":{"S3Key":"2"}}}`),
			want:      []string{`~ L (AWS::Other): Code.S3Key: "1" → "2"`},
		},
		"another type": {deployed: resources(queue), generated: resources(`"Q":{"Type":"AWS::SNS::Topic"}`), want: []string{`~ Q (AWS::SNS::Topic): Type: "AWS::SQS::Queue" → "AWS::SNS::Topic"`}},
		"a long value": {
			deployed: resources(function("1", "1", `"A":"a"`)), generated: resources(function("1", "1", `"A":"`+strings.Repeat("ä", 200)+`"`)),
			want: []string{`~ F (AWS::Lambda::Function): Environment.Variables.A: "a" → "` + strings.Repeat("ä", 99) + "…"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := lambda.Compare([]byte(tc.deployed), []byte(tc.generated))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("want - got +:\n%s", diff)
			}
		})
	}
}

func TestCompareRefusesWhatIsNoTemplate(t *testing.T) {
	for _, text := range []string{"", "[]", `{"Resources":[]}`, `{"Resources":{"A":1}}`, `{"Resources":{"A":{}}}`} {
		if _, err := lambda.Compare([]byte(text), []byte("{}")); err == nil || !strings.Contains(err.Error(), "deployed template") {
			t.Errorf("deployed %q: error %v", text, err)
		}
		if _, err := lambda.Compare([]byte("{}"), []byte(text)); err == nil || !strings.Contains(err.Error(), "generated template") {
			t.Errorf("generated %q: error %v", text, err)
		}
	}
}

func FuzzCompare(f *testing.F) {
	f.Add([]byte(`{"Resources":{"F":{"Type":"AWS::Lambda::Function","Properties":{"Code":{"S3Key":"1"}}}}}`), []byte(`{"Resources":{}}`))
	f.Add([]byte(`{"Resources":{"F":{"Type":"AWS::Lambda::Function","Properties":[]}}}`), []byte(`{"Outputs":{}}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		_, err := lambda.Compare(a, b)
		if same, errSame := lambda.Compare(a, a); errSame == nil && len(same) > 0 {
			t.Errorf("a template differs from itself: %q", same)
		} else if errSame != nil && err == nil {
			t.Error("a template that is none was compared with another")
		}
	})
}

// TestEveryParameterOfThePackageIsASetting holds the settings file against serverless.yml.
func TestEveryParameterOfThePackageIsASetting(t *testing.T) {
	raw, err := os.ReadFile("../../serverless.yml")
	if err != nil {
		t.Fatal(err)
	}
	var used []string
	for _, found := range regexp.MustCompile(`\$\{param:(\w+)`).FindAllStringSubmatch(string(raw), -1) {
		used = append(used, found[1])
	}
	// What is no setting of the section is said elsewhere: the site and the version by flags, the region for osls itself.
	known := []string{"site", "version"}
	for _, k := range settings.Keys(settings.Lambda) {
		if k.Name != "region" {
			known = append(known, k.Name)
		}
	}
	slices.Sort(used)
	slices.Sort(known)
	if diff := cmp.Diff(slices.Compact(used), known); diff != "" {
		t.Errorf("serverless.yml - settings +:\n%s", diff)
	}
	if !strings.Contains(string(raw), "\nservice: "+lambda.Service+"\n") {
		t.Errorf("serverless.yml has another service than %s", lambda.Service)
	}
}

// answers is a Runner that answers from a table, and says of everything else that it is not there.
type answers struct {
	known   map[string]string
	missing []string
	ran     []string
}

func (a *answers) Look(name string) error {
	if slices.Contains(a.missing, name) {
		return fmt.Errorf("look for %s: %w", name, exec.ErrNotFound)
	}
	return nil
}

func (a *answers) Run(_ context.Context, c deploy.Command) ([]byte, error) {
	line := c.String()
	a.ran = append(a.ran, line)
	for _, words := range slices.Sorted(maps.Keys(a.known)) { // An ARN comes before a verb.
		if strings.Contains(line, words) {
			return []byte(a.known[words]), nil
		}
	}
	return nil, &deploy.CommandError{Command: c, Stderr: "it does not exist (ResourceNotFoundException)", Err: errors.New("exit status 254")}
}

// target returns a Target on a folder that looks like a checkout.
func target(t *testing.T, runner deploy.Runner, params map[string]string) (*lambda.Target, string) {
	t.Helper()
	root := t.TempDir()
	for _, path := range []string{"serverless.yml", "node_modules/osls/package.json"} {
		write(t, filepath.Join(root, path), "")
	}
	made, err := lambda.New(lambda.Options{
		Root: root, Stage: "prod", Region: "eu-west-1", Params: params, Functions: routes.Functions(), Runner: runner,
	})
	if err != nil {
		t.Fatal(err)
	}
	return made, root
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

const identity = `{"Account":"123456789012"}`

func arn(name string) string {
	return "arn:aws:secretsmanager:eu-west-1:123456789012:secret:" + name + "-AbCdEf"
}

func TestRequirements(t *testing.T) {
	complete := map[string]string{
		"site": "datadoghq.com", "version": "1", "provider": "openai", "dd_api_key_arn": arn("a"), "dd_app_key_arn": arn("b"),
		"api_keys_arn": arn("c"), "control_secrets_arn": arn("d"), "probe_key_arn": arn("e"), "escalation_app_key_arn": arn("f"),
	}
	with := func(more map[string]string) map[string]string {
		all := map[string]string{}
		maps.Copy(all, complete)
		maps.Copy(all, more)
		return all
	}
	there := map[string]string{"get-caller-identity": identity, "describe-secret": "{}"}
	tests := map[string]struct {
		params  map[string]string
		known   map[string]string
		missing []string
		want    []string
	}{
		"nothing is missing": {params: complete, known: there},
		"Vertex AI needs a project, a region and credentials": {
			params: with(map[string]string{"provider": "vertexai"}), known: there,
			want: []string{"lambda.google_project is not set", "lambda.google_location is not set", "lambda.google_credentials is not set"},
		},
		"credentials that are no config": {
			params: with(map[string]string{"google_credentials": `{"type":"authorized_user"}`}), known: there,
			want: []string{`lambda.google_credentials is no workload identity federation config: its type is not "external_account"`},
		},
		"credentials that are no JSON": {
			params: with(map[string]string{"google_credentials": "{"}), known: there, want: []string{"lambda.google_credentials is no JSON"},
		},
		"an ARN without its last six characters": {
			params: with(map[string]string{"probe_key_arn": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key"}), known: there,
			want: []string{"lambda.probe_key_arn is no complete ARN of a secret"},
		},
		"a secret of another region": {
			params: with(map[string]string{"probe_key_arn": strings.Replace(arn("e"), "eu-west-1", "us-east-1", 1)}), known: there,
			want: []string{"lambda.probe_key_arn is of a secret in us-east-1, and functions read secrets of their own region, eu-west-1"},
		},
		"the key of the secrets is no secret": {params: with(map[string]string{"secrets_kms_key_arn": "arn:aws:kms:eu-west-1:1:key/a"}), known: there},
		"a secret that is to be deleted": {
			params: complete, known: map[string]string{"get-caller-identity": identity, arn("c"): `{"DeletedDate":"2026-01-01"}`, "describe-secret": "{}"},
			want: []string{"lambda.api_keys_arn: the secret " + arn("c") + " is to be deleted"},
		},
		"no credentials of AWS": {params: complete, want: []string{"no AWS credentials that work: it does not exist (ResourceNotFoundException)"}},
		"no aws":                {params: complete, missing: []string{"aws"}, want: []string{"aws is not installed"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			made, _ := target(t, &answers{known: tc.known, missing: tc.missing}, tc.params)
			var got []string
			for _, p := range made.Requirements(t.Context()) {
				got = append(got, p.What)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("want - got +:\n%s", diff)
			}
		})
	}
}

func TestURLsAreThoseOfFunctions(t *testing.T) {
	runner := &answers{known: map[string]string{"describe-stacks": `{"Stacks":[{"StackStatus":"CREATE_COMPLETE","Outputs":[
		{"OutputKey":"QaLambdaFunctionUrl","OutputValue":"https://a.lambda-url.eu-central-1.on.aws/"},
		{"OutputKey":"QaUrl","OutputValue":"https://a.lambda-url.eu-central-1.on.aws/"},
		{"OutputKey":"OtherLambdaFunctionUrl","OutputValue":"https://b.lambda-url.eu-central-1.on.aws/"}]}]}`}}
	made, _ := target(t, runner, nil)
	got, err := made.URLs(t.Context())
	if diff := cmp.Diff(map[string]string{"qa": "https://a.lambda-url.eu-central-1.on.aws"}, got); diff != "" || err != nil {
		t.Errorf("error %v, want - got +:\n%s", err, diff)
	}
	made, _ = target(t, &answers{}, nil)
	if got, err := made.URLs(t.Context()); err != nil || len(got) > 0 {
		t.Errorf("without a stack: %v, error %v", got, err)
	}
}

// TestPlanOfStacksInOtherStates has the states that a deployment meets when another one went wrong.
func TestPlanOfStacksInOtherStates(t *testing.T) {
	const packaged = `{"Resources":{"Q":{"Type":"AWS::SQS::Queue"}}}`
	tests := map[string]struct {
		status, template string
		want             []deploy.Action
		err              string
	}{
		"none":                              {want: []deploy.Action{deploy.None, deploy.Create}},
		"only the name of a change set":     {status: "REVIEW_IN_PROGRESS", want: []deploy.Action{deploy.None, deploy.Create}},
		"creation failed":                   {status: "ROLLBACK_COMPLETE", template: "{}", want: []deploy.Action{deploy.Delete, deploy.Create}},
		"deletion failed":                   {status: "DELETE_FAILED", template: "{}", want: []deploy.Action{deploy.Delete, deploy.Create}},
		"an update was rolled back":         {status: "UPDATE_ROLLBACK_COMPLETE", template: "{}", want: []deploy.Action{deploy.None, deploy.Update}},
		"as it should be":                   {status: "UPDATE_COMPLETE", template: packaged, want: []deploy.Action{deploy.None, deploy.Unchanged}},
		"a roll-back that failed":           {status: "UPDATE_ROLLBACK_FAILED", template: "{}", err: "continue-update-rollback"},
		"busy for longer than anyone waits": {status: "UPDATE_IN_PROGRESS", err: "still UPDATE_IN_PROGRESS"},
		"a template in YAML":                {status: "UPDATE_COMPLETE", template: `"Resources: {}"`, err: "deployed template"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			runner := &answers{known: map[string]string{}}
			if tc.status != "" {
				runner.known["describe-stacks"] = `{"Stacks":[{"StackStatus":"` + tc.status + `"}]}`
			}
			if tc.template != "" {
				runner.known["get-template"] = `{"TemplateBody":` + tc.template + `}`
			}
			made, root := target(t, runner, nil)
			write(t, filepath.Join(root, "build", "package", "prod", "cloudformation-template-update-stack.json"), packaged)
			plan, err := deploy.Look(t.Context(), made.Steps())
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []deploy.Action
			for _, s := range plan {
				got = append(got, s.Action)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("want - got +:\n%s", diff)
			}
		})
	}
}

func TestNewWantsItsOptions(t *testing.T) {
	if _, err := lambda.New(lambda.Options{Root: ".", Stage: "prod"}); err == nil {
		t.Error("no functions and no runner were accepted")
	}
}

// TestPolicyOfWhoDeploysIsExact reads deployer.json as the README tells people to use it. Whether it is enough, only an account
// could tell.
func TestPolicyOfWhoDeploysIsExact(t *testing.T) {
	raw, err := os.ReadFile("deployer.json")
	if err != nil {
		t.Fatal(err)
	}
	var policy struct {
		Statement []struct {
			Sid, Effect, Resource string
			Action                []string
		}
	}
	if err := json.Unmarshal(raw, &policy); err != nil {
		t.Fatal(err)
	}
	// A managed policy has 6144 characters at most, white space not counted.
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil || compact.Len() > 6144 {
		t.Errorf("%d characters, error %v", compact.Len(), err)
	}
	allowed := map[string]string{}
	for _, s := range policy.Statement {
		if s.Effect != "Allow" || s.Sid == "" || (s.Resource == "*") != (s.Sid == "WithoutResource") {
			t.Errorf("statement %q: %s on %s", s.Sid, s.Effect, s.Resource)
		}
		for _, action := range s.Action {
			if !regexp.MustCompile(`^[a-z0-9]+:[A-Z][A-Za-z0-9]+$`).MatchString(action) || allowed[action] != "" {
				t.Errorf("statement %s: %s is no exact action, or is there twice", s.Sid, action)
			}
			allowed[action] = s.Resource
		}
	}
	// What the target itself asks, and on what.
	for action, resource := range map[string]string{
		"sts:GetCallerIdentity": "*", "cloudformation:DescribeStacks": lambda.Service, "cloudformation:GetTemplate": lambda.Service,
		"cloudformation:ListStackResources": lambda.Service, "lambda:GetFunctionConfiguration": lambda.Service, "secretsmanager:DescribeSecret": "secret:lrcp/",
		"secretsmanager:GetSecretValue": "secret:lrcp/",
	} {
		if !strings.Contains(allowed[action], resource) {
			t.Errorf("%s is allowed on %q, want %s", action, allowed[action], resource)
		}
	}
}
