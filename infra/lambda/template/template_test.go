package template_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/routes"
	"github.com/llm-reliability/control-plane/infra/lambda/template"
)

// root returns the folder of serverless.yml.
func root(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("where the source is was not compiled in")
	}
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}

// service makes a folder that has serverless.yml and what packaging it needs, with zips that hold nothing.
func service(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	definition, err := os.ReadFile(filepath.Join(root(t), "serverless.yml"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"serverless.yml": definition}
	for _, name := range template.Functions() {
		files[filepath.Join("build", "lambda", name+".zip")] = []byte("stub")
	}
	for path, content := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(root(t), "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// packaged returns what osls makes of serverless.yml with the placeholders, and what is given on top of them.
func packaged(t testing.TB, params map[string]string) []byte {
	t.Helper()
	all := template.Placeholders("eu-central-1")
	maps.Copy(all, params)
	out, err := template.Package(t.Context(), template.PackageOptions{Dir: service(t), Stage: "test", Region: "eu-central-1", Params: all})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// read returns a copy of a template to change.
func read(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func check(t *testing.T, doc any) []string {
	t.Helper()
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return lines(template.Check(data))
}

func lines(problems []template.Problem) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.String())
	}
	return out
}

// TestStack packages serverless.yml once, and looks at the template and at copies that were changed.
func TestStack(t *testing.T) {
	data := packaged(t, nil)
	t.Run("it is what the rules say", func(t *testing.T) {
		if problems := lines(template.Check(data)); len(problems) > 0 {
			t.Errorf("%s", strings.Join(problems, "\n"))
		}
	})
	t.Run("each rule finds what breaks it", func(t *testing.T) { testEachRule(t, data) })
	t.Run("nothing is left out", func(t *testing.T) { testNothingIsLeftOut(t, data) })
}

func TestEveryFunctionIsDeployed(t *testing.T) {
	for _, name := range routes.Functions() {
		if !slices.Contains(template.Functions(), name) {
			t.Errorf("function %s is not deployed", name)
		}
	}
}

// TestEveryParameterIsExplained holds the parameters that serverless.yml uses against those that it lists, at its top and under params.
// osls itself says nothing of a parameter that it is given and does not use.
func TestEveryParameterIsExplained(t *testing.T) {
	definition, err := os.ReadFile(filepath.Join(root(t), "serverless.yml"))
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(definition), "\nservice:")
	_, defaults, _ := strings.Cut(rest, "\n  default:\n")
	defaults, _, _ = strings.Cut(defaults, "\n\n")
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^    (\w+):`).FindAllStringSubmatch(defaults, -1) {
		listed[m[1]] = false
	}
	for _, m := range regexp.MustCompile(`(?m)^#   (\w+(?:(?: \(secret\))?, \w+)*)`).FindAllStringSubmatch(head, -1) {
		for name := range strings.SplitSeq(strings.ReplaceAll(m[1], " (secret)", ""), ", ") {
			listed[name] = false
		}
	}
	for _, m := range regexp.MustCompile(`\$\{param:(\w+)`).FindAllStringSubmatch(rest, -1) {
		if _, ok := listed[m[1]]; !ok {
			t.Errorf("parameter %s is not listed", m[1])
		}
		listed[m[1]] = true
	}
	for name, used := range listed {
		if !used {
			t.Errorf("parameter %s is not used", name)
		}
	}
	for name := range template.Placeholders("eu-central-1") {
		if !listed[name] {
			t.Errorf("there is a placeholder for %s, which is no parameter", name)
		}
	}
}

// TestOptionalParameters packages a stack that has nothing of the default one: another provider, a key for the secrets, reserved
// executions, signed requests.
func TestOptionalParameters(t *testing.T) {
	const key = "arn:aws:kms:eu-central-1:000000000000:key/placeholder"
	data := packaged(t, map[string]string{
		"provider": "openai,embedded", "openai_base_url": "https://models.example.com/v1", "model_standard": "m",
		"openai_api_key_arn":  "arn:aws:secretsmanager:eu-central-1:000000000000:secret:openai-AAAAAA",
		"secrets_kms_key_arn": key, "control_concurrency": "5", "url_authorizer": "aws_iam",
		"probe_qa_url": "https://llm.example.com/qa/", "probe_completion_url": "https://llm.example.com/completion/",
		"table_deletion_policy": "Delete", "log_retention_days": "90", "data_memory": "1024", "probe_schedule": "rate(5 minutes)",
		"allow_providers": "openai", "block": "injection,token_abuse,pii:key", "limits": "*:rpm=600", "cache_scope": "shared", "cache_stale": "0s", "fallback_on_block": "true", "hedge": "p95", "judge_sample": "0.01", "judge_tier": "quality", "analytics_application": "11111111-2222-3333-4444-555555555555", "max_duration": "2h", "insights_window": "30m", "status_feed": "none", "env": "production", "capture_content": "truncated",
	})
	if problems := lines(template.Check(data)); len(problems) > 0 {
		t.Errorf("%s", strings.Join(problems, "\n"))
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"ReservedConcurrentExecutions":5`, `"AuthType":"AWS_IAM"`, `"RetentionInDays":90`, `"MemorySize":1024`, `"DeletionPolicy":"Delete"`,
		`"DD_ENV":"production"`, `"ScheduleExpression":"rate(5 minutes)"`, key,
	} {
		if !strings.Contains(compact.String(), want) {
			t.Errorf("the template does not have %s", want)
		}
	}
	if strings.Contains(compact.String(), "lambda:InvokeFunctionUrl") {
		t.Error("with aws_iam, the URLs are open to all")
	}
}

// change is one edit of the real template: a path of names, and the value that is put there; nil removes what is there.
type change struct {
	path  string
	value any
}

// apply makes the edit. A list has numbers for names, and - for one more element.
func (c change) apply(t *testing.T, doc map[string]any) {
	t.Helper()
	names := strings.Split(c.path, " ")
	var node any = doc
	set := func(any) {}
	for i, name := range names {
		last := i == len(names)-1
		switch n := node.(type) {
		case map[string]any:
			if _, ok := n[name]; !ok && (!last || c.value == nil) {
				t.Fatalf("%s: there is no %s", c.path, name)
			}
			if last && c.value == nil {
				delete(n, name)
				return
			}
			set, node = func(v any) { n[name] = v }, n[name]
		case []any:
			if name == "-" {
				set(append(n, c.value))
				return
			}
			at, err := strconv.Atoi(name)
			if err != nil || at >= len(n) {
				t.Fatalf("%s: there is no element %s", c.path, name)
			}
			if last && c.value == nil {
				set(slices.Delete(n, at, at+1))
				return
			}
			set, node = func(v any) { n[at] = v }, n[at]
		default:
			t.Fatalf("%s: %s has nothing below it", c.path, names[i-1])
		}
	}
	set(c.value)
}

type (
	object = map[string]any
	list   = []any
)

func resource(kind string, properties object) object {
	return object{"Type": kind, "Properties": properties}
}

func testEachRule(t *testing.T, data []byte) {
	const (
		qa          = "Resources QaLambdaFunction Properties "
		env         = qa + "Environment Variables "
		role        = "Resources QaRole Properties "
		statement   = role + "Policies 0 PolicyDocument Statement "
		remediation = "Resources RemediationRole Properties Policies 0 PolicyDocument Statement "
		table       = "Resources StateTable Properties "
		rule        = "Resources ProbeEventsRuleSchedule1 Properties "
		secret      = "arn:aws:secretsmanager:eu-central-1:000000000000:secret:"
		control     = `{"ForAllValues:StringEquals":{"dynamodb:LeadingKeys":["control"]},"Null":{"dynamodb:LeadingKeys":"false"}}`
		cache       = `{"ForAllValues:StringLike":{"dynamodb:LeadingKeys":["cache#*"]},"Null":{"dynamodb:LeadingKeys":"false"}}`
	)
	for name, tt := range map[string]struct {
		changes []change
		want    []string
	}{
		// Functions.
		"a function is missing": {
			[]change{{"Resources DiagnosisLambdaFunction", nil}, {"Resources DiagnosisLambdaPermissionFnUrl", nil}, {"Resources DiagnosisLambdaPermissionFn", nil}, {"Resources DiagnosisLambdaFunctionUrl", nil}, {"Resources DiagnosisRole", nil}, {"Resources DiagnosisLogGroup", nil}, {"Outputs DiagnosisUrl", nil}},
			[]string{
				"DiagnosisLambdaFunction: there is no such AWS::Lambda::Function", "DiagnosisLambdaFunctionUrl: there is no such AWS::Lambda::Url",
				"DiagnosisLogGroup: there is no such AWS::Logs::LogGroup", "DiagnosisRole: there is no such AWS::IAM::Role",
				`DiagnosisUrl: the output is "", want "${DiagnosisLambdaFunctionUrl.FunctionUrl}"`,
			},
		},
		"a function that nobody knows": {
			[]change{{"Resources OtherLambdaFunction", resource("AWS::Lambda::Function", nil)}},
			[]string{"OtherLambdaFunction: is a AWS::Lambda::Function that belongs to no function"},
		},
		"another runtime":      {[]change{{qa + "Runtime", "nodejs22.x"}}, []string{`QaLambdaFunction: Runtime is "nodejs22.x", want "provided.al2023"`}},
		"another handler":      {[]change{{qa + "Handler", "/opt/wrapper"}}, []string{`QaLambdaFunction: Handler is "/opt/wrapper", want "bootstrap"`}},
		"another architecture": {[]change{{qa + "Architectures 0", "x86_64"}}, []string{`QaLambdaFunction: Architectures is "[\"x86_64\"]", want "[\"arm64\"]"`}},
		"the code of another function": {
			[]change{{qa + "Code S3Key", "serverless/1/completion.zip"}}, []string{"QaLambdaFunction: its code is serverless/1/completion.zip, want qa.zip"},
		},
		"a name that Lambda does not take": {
			[]change{{qa + "FunctionName", strings.Repeat("f", 65)}, {"Resources QaLogGroup Properties LogGroupName", "/aws/lambda/" + strings.Repeat("f", 65)}},
			[]string{"QaLambdaFunction: FunctionName has 65 characters, and Lambda takes 1 to 64: choose a shorter stage"},
		},
		"too little memory": {[]change{{qa + "MemorySize", 128}}, []string{"QaLambdaFunction: MemorySize is 128, want 256 or more: the Datadog extension is slow with less"}},
		"no extension":      {[]change{{qa + "Layers", nil}}, []string{"QaLambdaFunction: its layers are [], want the Datadog extension for arm64 alone"}},
		"the extension of another architecture": {
			[]change{{qa + "Layers 0", "arn:aws:lambda:eu-central-1:464622532012:layer:Datadog-Extension:99"}},
			[]string{`QaLambdaFunction: its layers are ["arn:aws:lambda:eu-central-1:464622532012:layer:Datadog-Extension:99"], want the Datadog extension for arm64 alone`},
		},
		"a timeout that leaves no time for an answer": {
			[]change{{qa + "Timeout", 35}}, []string{"QaLambdaFunction: Timeout is 35 s with LRCP_TIMEOUT 30s, want more than 5s between them, and 900 s at most"},
		},
		"a timeout that Lambda does not take": {
			[]change{{qa + "Timeout", 901}}, []string{"QaLambdaFunction: Timeout is 901 s with LRCP_TIMEOUT 30s, want more than 5s between them, and 900 s at most"},
		},
		"a deadline that is none":      {[]change{{env + "LRCP_TIMEOUT", "soon"}}, []string{`QaLambdaFunction: LRCP_TIMEOUT is "soon", want a duration such as 30s`}},
		"a data function with a limit": {[]change{{qa + "ReservedConcurrentExecutions", 5}}, []string{"QaLambdaFunction: reserves executions, which would bound all requests; only control functions do"}},
		"a control function that never runs": {
			[]change{{"Resources ProbeLambdaFunction Properties ReservedConcurrentExecutions", 0}},
			[]string{
				"DiagnosisLambdaFunction: reserves no executions, but ProbeLambdaFunction does", "EscalationLambdaFunction: reserves no executions, but ProbeLambdaFunction does",
				"InsightsLambdaFunction: reserves no executions, but ProbeLambdaFunction does",
				"ProbeLambdaFunction: reserves 0 executions: it could never run", "RemediationLambdaFunction: reserves no executions, but ProbeLambdaFunction does",
				"TheaterLambdaFunction: reserves no executions, but ProbeLambdaFunction does",
			},
		},

		// Environment.
		"a variable is missing": {[]change{{env + "LRCP_STATE", nil}}, []string{"QaLambdaFunction: LRCP_STATE is missing"}},
		"a variable is empty":   {[]change{{env + "DD_VERSION", ""}}, []string{"QaLambdaFunction: DD_VERSION is empty"}},
		"a secret by its value": {
			[]change{{env + "LRCP_API_KEYS", "web:0123"}}, []string{"QaLambdaFunction: LRCP_API_KEYS would hold a secret; give its ARN in LRCP_API_KEYS_SECRET_ARN"},
		},
		"a secret of another function": {
			[]change{{env + "DD_APP_KEY_SECRET_ARN", secret + "dd_app_key-AAAAAA"}},
			[]string{"QaLambdaFunction: DD_APP_KEY_SECRET_ARN is no variable of this function", "QaRole: does not allow secretsmanager:GetSecretValue on " + secret + "dd_app_key-AAAAAA"},
		},
		"the name of a secret instead of its ARN": {
			[]change{{env + "LRCP_API_KEYS_SECRET_ARN", secret + "keys"}, {statement + "1 Resource 1", secret + "keys"}},
			[]string{"QaLambdaFunction: LRCP_API_KEYS_SECRET_ARN is no complete ARN of a secret, which ends in a dash and six characters"},
		},
		"a secret in another region": {
			[]change{{env + "LRCP_API_KEYS_SECRET_ARN", "arn:aws:secretsmanager:us-east-1:000000000000:secret:k-AAAAAA"}, {statement + "1 Resource 1", "arn:aws:secretsmanager:us-east-1:000000000000:secret:k-AAAAAA"}},
			[]string{"QaLambdaFunction: LRCP_API_KEYS_SECRET_ARN is in us-east-1, want a secret in eu-central-1"},
		},
		"a variable that slows the start": {[]change{{env + "DD_APPSEC_ENABLED", "true"}}, []string{`QaLambdaFunction: DD_APPSEC_ENABLED is "true", want "false"`}},
		"a variable that the plugin would set": {
			[]change{{env + "DD_LLMOBS_AGENTLESS_ENABLED", true}}, []string{"QaLambdaFunction: DD_LLMOBS_AGENTLESS_ENABLED is no variable of this function"},
		},
		"LLM Observability under a name that Datadog refuses": {
			[]change{{env + "DD_LLMOBS_ML_APP", "Control Plane"}}, []string{`QaLambdaFunction: DD_LLMOBS_ML_APP is "Control Plane", want lower case, at most 193 characters`},
		},
		"rules for logs that can't be read": {[]change{{env + "DD_LOGS_CONFIG_PROCESSING_RULES", "["}}, []string{"QaLambdaFunction: DD_LOGS_CONFIG_PROCESSING_RULES is no JSON"}},
		"an environment that is too large": {
			[]change{{env + "LRCP_GEMINI_MODEL_QUALITY", strings.Repeat("m", 4096)}},
			[]string{"QaLambdaFunction: its environment has more than the 4096 bytes that Lambda takes"},
		},
		"a state that is another one": {[]change{{env + "LRCP_STATE", "dynamodb:other"}}, []string{`QaLambdaFunction: LRCP_STATE is "dynamodb:other", want the table of this stack`}},
		"Google without what it needs": {
			[]change{{env + "GOOGLE_CLOUD_PROJECT", nil}, {env + "GOOGLE_CLOUD_LOCATION", nil}, {env + "LRCP_GOOGLE_CREDENTIALS", nil}},
			[]string{
				"QaLambdaFunction: GOOGLE_CLOUD_LOCATION is missing, and LRCP_PROVIDER is vertexai,genai", "QaLambdaFunction: GOOGLE_CLOUD_PROJECT is missing, and LRCP_PROVIDER is vertexai,genai",
				"QaLambdaFunction: LRCP_GOOGLE_CREDENTIALS is missing, and LRCP_PROVIDER is vertexai,genai",
			},
		},
		"a key of Google": {
			[]change{{env + "LRCP_GOOGLE_CREDENTIALS", `{"type":"service_account","private_key":"x"}`}},
			[]string{"QaLambdaFunction: LRCP_GOOGLE_CREDENTIALS is no config of workload identity federation, type external_account; a key would be a secret"},
		},
		"OpenAI without key and model": {
			[]change{{env + "LRCP_PROVIDER", "openai"}},
			[]string{"QaLambdaFunction: LRCP_MODEL_STANDARD is missing, and LRCP_PROVIDER is openai", "QaLambdaFunction: OPENAI_API_KEY_SECRET_ARN is missing, and LRCP_PROVIDER is openai"},
		},
		"a probe that calls in the clear": {
			[]change{{"Resources ProbeLambdaFunction Properties Environment Variables LRCP_PROBE_QA_URL", "http://qa.example.com"}},
			[]string{`ProbeLambdaFunction: LRCP_PROBE_QA_URL is "http://qa.example.com", want the function's URL, or one that begins with https://`},
		},
		"a parameter that was not resolved": {[]change{{env + "DD_SITE", "${param:site}"}}, []string{"QaLambdaFunction: ${param:site} is not resolved"}},

		// URLs and permissions.
		"a URL that buffers": {[]change{{"Resources QaLambdaFunctionUrl Properties InvokeMode", nil}}, []string{`QaLambdaFunctionUrl: InvokeMode is "", want "RESPONSE_STREAM"`}},
		"a URL of another function": {
			[]change{{"Resources QaLambdaFunctionUrl Properties TargetFunctionArn", object{"Fn::GetAtt": list{"ProbeLambdaFunction", "Arn"}}}},
			[]string{`QaLambdaFunctionUrl: TargetFunctionArn is "${ProbeLambdaFunction.Arn}", want "${QaLambdaFunction.Arn}"`},
		},
		"a URL for pages of all origins": {
			[]change{{"Resources QaLambdaFunctionUrl Properties Cors", object{"AllowOrigins": list{"*"}}}}, []string{"QaLambdaFunctionUrl: lets pages of other origins call the function"},
		},
		"a URL without authentication type": {
			[]change{{"Resources QaLambdaFunctionUrl Properties AuthType", nil}},
			[]string{
				`QaLambdaFunctionUrl: AuthType is "", want NONE or AWS_IAM`,
				`QaLambdaPermissionFn: lets "*" do lambda:InvokeFunction with ${QaLambdaFunction.Arn}, which no URL and no schedule needs`,
				`QaLambdaPermissionFnUrl: lets "*" do lambda:InvokeFunctionUrl with ${QaLambdaFunction.Arn}, which no URL and no schedule needs`,
			},
		},
		"one of a URL's two permissions": {[]change{{"Resources QaLambdaPermissionFn", nil}}, []string{"QaLambdaFunction: * has no permission lambda:InvokeFunction"}},
		"everybody may invoke": {
			[]change{{"Resources QaLambdaPermissionFn Properties InvokedViaFunctionUrl", nil}},
			[]string{
				"QaLambdaFunction: * has no permission lambda:InvokeFunction",
				`QaLambdaPermissionFn: lets "*" do lambda:InvokeFunction with ${QaLambdaFunction.Arn}, which no URL and no schedule needs`,
			},
		},
		"a URL for the probe": {
			[]change{{"Resources ProbeLambdaFunctionUrl", resource("AWS::Lambda::Url", object{"AuthType": "NONE"})}},
			[]string{"ProbeLambdaFunctionUrl: is a AWS::Lambda::Url that belongs to no function"},
		},

		// Schedules.
		"no schedule": {
			[]change{{"Resources ProbeEventsRuleSchedule1", nil}, {"Resources ProbeLambdaPermissionEventsRuleSchedule1", nil}},
			[]string{"ProbeEventsRuleSchedule1: there is no such AWS::Events::Rule"},
		},
		"a schedule that is off":   {[]change{{rule + "State", "DISABLED"}}, []string{`ProbeEventsRuleSchedule1: State is "DISABLED", want "ENABLED"`}},
		"a schedule without times": {[]change{{rule + "ScheduleExpression", nil}}, []string{`ProbeEventsRuleSchedule1: ScheduleExpression is "", want a rate or cron`}},
		"a schedule for something else": {
			[]change{{rule + "Targets 0 Arn", "arn:aws:lambda:eu-central-1:000000000000:function:other"}}, []string{"ProbeEventsRuleSchedule1: must call ProbeLambdaFunction, and nothing else"},
		},
		"a schedule with an event of its own": {
			[]change{{rule + "Targets 0 Input", "{}"}}, []string{"ProbeEventsRuleSchedule1: sends an event of its own; the function knows a schedule by EventBridge's"},
		},
		"a schedule without permission": {
			[]change{{"Resources ProbeLambdaPermissionEventsRuleSchedule1", nil}}, []string{"ProbeLambdaFunction: events.amazonaws.com has no permission lambda:InvokeFunction"},
		},
		"a permission for every schedule": {
			[]change{{"Resources ProbeLambdaPermissionEventsRuleSchedule1 Properties SourceArn", nil}},
			[]string{
				"ProbeLambdaFunction: events.amazonaws.com has no permission lambda:InvokeFunction",
				`ProbeLambdaPermissionEventsRuleSchedule1: lets "events.amazonaws.com" do lambda:InvokeFunction with ${ProbeLambdaFunction.Arn}, which no URL and no schedule needs`,
			},
		},
		"a schedule that is tried again": {
			[]change{{"Resources ProbeLambdaEvConf Properties MaximumRetryAttempts", 2}}, []string{`ProbeLambdaEvConf: MaximumRetryAttempts is "2", want "0"`},
		},

		// Roles.
		"a role that is shared": {
			[]change{{qa + "Role", object{"Fn::GetAtt": list{"RemediationRole", "Arn"}}}}, []string{`QaLambdaFunction: Role is "${RemediationRole.Arn}", want "${QaRole.Arn}"`},
		},
		"a role that others may take": {
			[]change{{role + "AssumeRolePolicyDocument Statement 0 Principal", "*"}},
			[]string{`QaRole: may be taken by [{"Action":"sts:AssumeRole","Effect":"Allow","Principal":"*"}], want Lambda alone`},
		},
		"a managed policy": {
			[]change{{role + "ManagedPolicyArns", list{"arn:aws:iam::aws:policy/AdministratorAccess"}}}, []string{"QaRole: has managed policies, which allow more than this function needs"},
		},
		"a name that IAM does not take": {
			[]change{{role + "RoleName", strings.Repeat("r", 65)}}, []string{"QaRole: RoleName has 65 characters, and IAM takes 64: choose a shorter stage"},
		},
		"a wildcard for actions": {
			[]change{{statement + "3 Action -", "dynamodb:*"}}, []string{"QaRole: allows dynamodb:* on ${StateTable.Arn}: a wildcard"},
		},
		"a wildcard for resources": {
			[]change{{statement + "1 Resource -", "arn:aws:secretsmanager:eu-central-1:000000000000:secret:*"}},
			[]string{"QaRole: allows secretsmanager:GetSecretValue on arn:aws:secretsmanager:eu-central-1:000000000000:secret:*: a wildcard"},
		},
		"the secret of another function, readable": {
			[]change{{statement + "1 Resource -", secret + "dd_app_key-AAAAAA"}},
			[]string{"QaRole: allows secretsmanager:GetSecretValue on " + secret + "dd_app_key-AAAAAA, which the function does not need"},
		},
		"a secret that can't be read": {
			[]change{{statement + "1 Resource 1", nil}}, []string{"QaRole: does not allow secretsmanager:GetSecretValue on " + secret + "api_keys-AAAAAA"},
		},
		"the log of another function": {
			[]change{{statement + "0 Resource", object{"Fn::GetAtt": list{"ProbeLogGroup", "Arn"}}}},
			[]string{
				"QaRole: allows logs:CreateLogStream on ${ProbeLogGroup.Arn}, which the function does not need", "QaRole: allows logs:PutLogEvents on ${ProbeLogGroup.Arn}, which the function does not need",
				"QaRole: does not allow logs:CreateLogStream on ${QaLogGroup.Arn}", "QaRole: does not allow logs:PutLogEvents on ${QaLogGroup.Arn}",
			},
		},
		"a data function that writes control state": {
			[]change{{statement + "3 Action -", "dynamodb:PutItem"}},
			[]string{"QaRole: allows dynamodb:PutItem on ${StateTable.Arn} under another condition than it should: " + control},
		},
		"a data function that deletes": {
			[]change{{statement + "4 Action -", "dynamodb:DeleteItem"}}, []string{"QaRole: allows dynamodb:DeleteItem on ${StateTable.Arn}, which the function does not need"},
		},
		"a statement without its condition": {
			[]change{{statement + "4 Condition", nil}},
			[]string{
				"QaRole: allows dynamodb:GetItem on ${StateTable.Arn} under another condition than it should: none", "QaRole: allows dynamodb:PutItem on ${StateTable.Arn} under another condition than it should: none",
				"QaRole: does not allow dynamodb:GetItem on ${StateTable.Arn} under " + cache, "QaRole: does not allow dynamodb:PutItem on ${StateTable.Arn} under " + cache,
			},
		},
		"a condition that a request without keys slips through": {
			[]change{{remediation + "4 Condition Null", nil}, {remediation + "4 Action", "dynamodb:PutItem"}},
			[]string{
				`RemediationRole: allows dynamodb:PutItem on ${StateTable.Arn} under another condition than it should: {"ForAllValues:StringEquals":{"dynamodb:LeadingKeys":["control"]}}`,
				"RemediationRole: does not allow dynamodb:PutItem on ${StateTable.Arn} under " + control, "RemediationRole: does not allow dynamodb:DeleteItem on ${StateTable.Arn} under " + control,
				"RemediationRole: does not allow dynamodb:ConditionCheckItem on ${StateTable.Arn} under " + control,
			},
		},
		"everything but": {
			[]change{{statement + "-", object{"Effect": "Allow", "NotAction": "iam:CreateUser", "Resource": "*"}}}, []string{"QaRole: has a statement with NotAction, which no rule knows"},
		},
		"a statement that denies": {
			[]change{{statement + "-", object{"Effect": "Deny", "Action": "s3:GetObject", "Resource": "*"}}}, []string{"QaRole: has a statement that is no Allow"},
		},
		"a role beside those of the functions": {
			[]change{{"Resources IamRoleLambdaExecution", resource("AWS::IAM::Role", nil)}}, []string{"IamRoleLambdaExecution: is a AWS::IAM::Role that belongs to no function"},
		},
		"a policy beside the roles": {
			[]change{{"Resources Extra", resource("AWS::IAM::Policy", nil)}}, []string{"Extra: is a AWS::IAM::Policy, which no rule knows"},
		},

		// Logs, alarms, table, bucket, outputs.
		"logs that are kept for ever": {[]change{{"Resources QaLogGroup Properties RetentionInDays", nil}}, []string{"QaLogGroup: keeps logs for ever; RetentionInDays is missing"}},
		"a log that the function does not write": {
			[]change{{"Resources QaLogGroup Properties LogGroupName", "/aws/lambda/other"}},
			[]string{`QaLogGroup: LogGroupName is "/aws/lambda/other", want "/aws/lambda/llm-reliability-control-plane-test-qa"`},
		},
		"an alarm": {[]change{{"Resources Errors", resource("AWS::CloudWatch::Alarm", nil)}}, []string{"Errors: is an alarm of CloudWatch; Datadog's monitors are the alarms"}},
		"no table": {[]change{{"Resources StateTable", nil}, {"Outputs StateTableName", nil}}, []string{"StateTable: there is no such AWS::DynamoDB::Table", `StateTableName: the output is "", want "${StateTable}"`}},
		"a table whose items never go": {
			[]change{{table + "TimeToLiveSpecification", nil}},
			[]string{`StateTable: TimeToLiveSpecification.AttributeName is "", want "expires"`, `StateTable: TimeToLiveSpecification.Enabled is "", want "true"`},
		},
		"a table without recovery": {
			[]change{{table + "PointInTimeRecoverySpecification PointInTimeRecoveryEnabled", false}},
			[]string{`StateTable: PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled is "false", want "true"`},
		},
		"a table without encryption": {[]change{{table + "SSESpecification", nil}}, []string{`StateTable: SSESpecification.SSEEnabled is "", want "true"`}},
		"a table of fixed capacity":  {[]change{{table + "BillingMode", nil}}, []string{`StateTable: BillingMode is "", want "PAY_PER_REQUEST"`}},
		"a table of other keys": {
			[]change{{table + "KeySchema 1", nil}}, []string{`StateTable: KeySchema is "[{\"AttributeName\":\"pk\",\"KeyType\":\"HASH\"}]", want "[{\"AttributeName\":\"pk\",\"KeyType\":\"HASH\"},{\"AttributeName\":\"sk\",\"KeyType\":\"RANGE\"}]"`},
		},
		"a table with a name":                  {[]change{{table + "TableName", "state"}}, []string{"StateTable: has a name; a table that is kept would be in the way of the next stack"}},
		"a table that goes with the stack":     {[]change{{"Resources StateTable DeletionPolicy", nil}}, []string{`StateTable: DeletionPolicy is "", want Retain, RetainExceptOnCreate or Delete`}},
		"a table that goes when it is changed": {[]change{{"Resources StateTable UpdateReplacePolicy", nil}}, []string{`StateTable: UpdateReplacePolicy is "", want Retain`}},
		"a table that must go and must not": {
			[]change{{"Resources StateTable DeletionPolicy", "Delete"}, {table + "DeletionProtectionEnabled", true}},
			[]string{"StateTable: is protected from deletion, and to be deleted with the stack: that would fail"},
		},
		"a table whose protection is not said": {[]change{{table + "DeletionProtectionEnabled", nil}}, []string{`StateTable: DeletionProtectionEnabled is "", want true or false`}},
		"a bucket for all to see": {
			[]change{{"Resources ServerlessDeploymentBucket Properties PublicAccessBlockConfiguration BlockPublicPolicy", false}},
			[]string{`ServerlessDeploymentBucket: PublicAccessBlockConfiguration.BlockPublicPolicy is "false", want "true"`},
		},
		"a bucket in the clear": {[]change{{"Resources ServerlessDeploymentBucket Properties BucketEncryption", nil}}, []string{"ServerlessDeploymentBucket: is not encrypted"}},
		"a bucket that others read": {
			[]change{{"Resources ServerlessDeploymentBucketPolicy Properties PolicyDocument Statement -", object{"Effect": "Allow", "Action": "s3:GetObject", "Principal": "*", "Resource": "*"}}},
			[]string{"ServerlessDeploymentBucketPolicy: allows s3:GetObject to *"},
		},
		"an output of something else": {[]change{{"Outputs QaUrl Value", "https://example.com"}}, []string{`QaUrl: the output is "https://example.com", want "${QaLambdaFunctionUrl.FunctionUrl}"`}},

		// Conditions.
		"a resource under a condition that does not hold": {
			[]change{{"Resources QaLogGroup Condition", "OpenAIHasKey"}}, []string{"QaLogGroup: there is no such AWS::Logs::LogGroup"},
		},
		"a condition of CloudFormation's parameters": {
			[]change{{"Conditions OpenAIHasKey", object{"Fn::Equals": list{object{"Ref": "Key"}, ""}}}}, []string{"condition OpenAIHasKey can't be told before the deployment"},
		},
		"a condition that lets the cache's key slip in": {
			[]change{{"Conditions SecretsHaveKey", object{"Fn::Equals": list{"a", "a"}}}, {statement + "2 Fn::If 1 Condition", nil}},
			[]string{"QaRole: allows kms:Decrypt on none, which the function does not need"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			doc := read(t, data)
			for _, c := range tt.changes {
				c.apply(t, doc)
			}
			if diff := cmp.Diff(tt.want, check(t, doc)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// testNothingIsLeftOut removes each resource and each property of a resource in turn: the rules must notice nearly all of it. What they
// don't is named here.
func testNothingIsLeftOut(t *testing.T, data []byte) {
	unnoticed := map[string]bool{
		// Names and tags are for readers, and so is the wording of a role's policies.
		"AWS::Lambda::Function Tags": true, "AWS::IAM::Role RoleName": true,
		// A schedule's event may wait as long as it likes, now that it is not tried again.
		"AWS::Lambda::EventInvokeConfig MaximumEventAgeInSeconds": true, "AWS::Lambda::EventInvokeConfig DestinationConfig": true,
		"AWS::Lambda::EventInvokeConfig Qualifier": true,
		// CloudFormation itself refuses a policy without a bucket; a bucket without a policy is closed.
		"AWS::S3::BucketPolicy Bucket": true, "AWS::S3::BucketPolicy PolicyDocument": true,
	}
	resources, ok := read(t, data)["Resources"].(object)
	if !ok {
		t.Fatal("the template has no resources")
	}
	for id, r := range resources {
		r, ok := r.(object)
		if !ok {
			t.Fatalf("%s is no object", id)
		}
		paths := []string{id}
		properties, _ := r["Properties"].(object)
		for property := range properties {
			paths = append(paths, id+" Properties "+property)
		}
		for _, path := range paths {
			doc := read(t, data)
			change{"Resources " + path, nil}.apply(t, doc)
			name := fmt.Sprint(r["Type"], strings.TrimPrefix(strings.TrimPrefix(path, id), " Properties"))
			if noticed := len(check(t, doc)) > 0; noticed == unnoticed[name] {
				t.Errorf("without %s (%s): noticed %v", path, name, noticed)
			}
		}
	}
}

func TestWhatIsNoTemplate(t *testing.T) {
	for name, tt := range map[string]struct{ data, want string }{
		"nothing":            {"", "this is no template in JSON"},
		"YAML":               {"Resources: {}", "this is no template in JSON"},
		"no resources":       {`{"Resources":{}}`, "the template has no resources"},
		"a list":             {`[]`, "this is no template in JSON"},
		"properties of text": {`{"Resources":{"A":{"Type":"AWS::S3::Bucket","Properties":"x"}}}`, "this is no template in JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			got := lines(template.Check([]byte(tt.data)))
			if len(got) != 1 || !strings.HasPrefix(got[0], tt.want) {
				t.Errorf("got %q, want one problem that begins with %q", got, tt.want)
			}
		})
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte(`{"Resources":{"QaLambdaFunction":{"Type":"AWS::Lambda::Function","Properties":{"Code":1,"Environment":[]}}}}`))
	f.Add([]byte(`{"Conditions":{"A":{"Fn::Not":[{"Fn::Equals":["a","b"]}]}},"Resources":{"QaRole":{"Type":"AWS::IAM::Role","Properties":{"Policies":[{"Fn::If":["A",{"PolicyDocument":{"Statement":[1]}},{"Ref":"AWS::NoValue"}]}]}}}}`))
	f.Add([]byte(`{"Resources":{"StateTable":null,"ProbeEventsRuleSchedule1":{"Type":"AWS::Events::Rule","Properties":{"Targets":[{"Arn":{"Fn::GetAtt":[]}}]}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(template.Check(data)) == 0 {
			t.Error("nothing is wrong with what is not the whole stack")
		}
	})
}

func TestPackagingThatCannotWork(t *testing.T) {
	empty := t.TempDir()
	for name, tt := range map[string]struct {
		dir    string
		path   string
		params map[string]string
		want   []string
	}{
		"modules are not installed": {dir: empty, want: []string{"osls is not installed, `make node_modules` installs it"}},
		"there is no Node":          {dir: empty, path: empty, want: []string{"Node 20.19 or later is needed"}},
		"parameters are missing": {
			dir: service(t), params: map[string]string{"version": "1"},
			want: []string{`"custom.required.site": Value not found`, `"custom.required.dd_api_key_arn"`, `"custom.required.probe_key_arn"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.path != "" {
				t.Setenv("PATH", tt.path)
			}
			_, err := template.Package(t.Context(), template.PackageOptions{Dir: tt.dir, Params: tt.params})
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want one with %q", err, want)
				}
			}
		})
	}
}
