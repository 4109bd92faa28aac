package template

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Check returns what is wrong with a template, in the order of what it is wrong with; nothing for a good one.
func Check(template []byte) []Problem {
	d, err := parse(template)
	if err != nil {
		return []Problem{{Detail: err.Error()}}
	}
	c := &checker{document: d}
	c.kinds()
	c.unresolved()
	for _, f := range contracts() {
		c.function(f)
		c.logs(f)
		c.url(f)
		c.schedule(f)
		c.role(f)
	}
	c.permissions()
	c.table()
	c.bucket()
	c.outputs()
	slices.SortStableFunc(c.problems, func(a, b Problem) int { return strings.Compare(a.Where, b.Where) })
	return slices.Compact(c.problems)
}

type checker struct {
	*document
	problems []Problem
}

func (c *checker) say(where, format string, args ...any) {
	c.problems = append(c.problems, Problem{Where: where, Detail: fmt.Sprintf(format, args...)})
}

// want compares one property with what it must be.
func (c *checker) want(id, want string, path ...string) {
	if got := text(get(c.Resources[id].Properties, path...)); got != want {
		c.say(id, "%s is %q, want %q", strings.Join(path, "."), got, want)
	}
}

// kinds looks for resources that belong to no function of ours, or to nothing that a rule knows.
func (c *checker) kinds() {
	ours := map[string][]string{
		"AWS::DynamoDB::Table": {stateTable}, "AWS::S3::Bucket": {bucket}, "AWS::S3::BucketPolicy": {bucket + "Policy"},
	}
	add := func(kind, id string) { ours[kind] = append(ours[kind], id) }
	for _, f := range contracts() {
		add("AWS::Lambda::Function", f.id("LambdaFunction"))
		add("AWS::IAM::Role", f.id("Role"))
		add("AWS::Logs::LogGroup", f.id("LogGroup"))
		if f.url {
			add("AWS::Lambda::Url", f.id("LambdaFunctionUrl"))
		}
		if f.schedule {
			add("AWS::Events::Rule", f.id("EventsRuleSchedule1"))
			add("AWS::Lambda::EventInvokeConfig", f.id("LambdaEvConf"))
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(ours)) {
		for _, id := range ours[kind] {
			if r := c.Resources[id]; r == nil || r.Type != kind {
				c.say(id, "there is no such %s", kind)
				c.Resources[id] = &resource{}
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.Resources)) {
		kind := c.Resources[id].Type
		expected, known := ours[kind]
		switch {
		case kind == "" || kind == "AWS::Lambda::Permission" || slices.Contains(expected, id):
		case kind == "AWS::CloudWatch::Alarm":
			c.say(id, "is an alarm of CloudWatch; Datadog's monitors are the alarms")
		case known:
			c.say(id, "is a %s that belongs to no function", kind)
		default:
			c.say(id, "is a %s, which no rule knows", kind)
		}
	}
}

// variable is a variable of osls. CloudFormation's own have two colons.
var variable = regexp.MustCompile(`\$\{[a-zA-Z]+(\(|:[^:])[^}]*`)

func (c *checker) unresolved() {
	c.strings(func(where, s string) {
		if found := variable.FindString(s); found != "" {
			c.say(where, "%s} is not resolved", found)
		}
	})
}

// extension is the layer of Datadog's extension for arm64.
var extension = regexp.MustCompile(`^arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:layer:Datadog-Extension-ARM(-FIPS)?:[1-9]\d*$`)

// spare is what Lambda must leave a function after its own deadline, for an answer and its telemetry.
const spare = 5 * time.Second

// maxEnvironment is what Lambda takes of names and values together, in bytes.
const maxEnvironment = 4096

func (c *checker) function(f contract) {
	id := f.id("LambdaFunction")
	p := c.Resources[id].Properties
	if p == nil {
		return
	}
	c.want(id, "provided.al2023", "Runtime")
	c.want(id, "bootstrap", "Handler")
	c.want(id, `["arm64"]`, "Architectures")
	c.want(id, "${"+f.id("Role")+".Arn}", "Role")
	if key := text(get(p, "Code", "S3Key")); !strings.HasSuffix(key, "/"+f.name+".zip") {
		c.say(id, "its code is %s, want %s.zip", key, f.name)
	}
	if length := len(text(p["FunctionName"])); length == 0 || length > 64 {
		c.say(id, "FunctionName has %d characters, and Lambda takes 1 to 64: choose a shorter stage", length)
	}
	if memory, _ := p["MemorySize"].(float64); memory < 256 {
		c.say(id, "MemorySize is %v, want 256 or more: the Datadog extension is slow with less", p["MemorySize"])
	}
	if layers := texts(p["Layers"]); len(layers) != 1 || !extension.MatchString(layers[0]) {
		c.say(id, "its layers are %q, want the Datadog extension for arm64 alone", layers)
	}
	c.concurrency(f, id)
	env, _ := get(p, "Environment", "Variables").(map[string]any)
	c.environment(f, id, env)
	c.near(id, env)
	deadline, err := time.ParseDuration(text(env["LRCP_TIMEOUT"]))
	if timeout, _ := p["Timeout"].(float64); err != nil || deadline <= 0 {
		c.say(id, "LRCP_TIMEOUT is %q, want a duration such as 30s", text(env["LRCP_TIMEOUT"]))
	} else if left := time.Duration(timeout)*time.Second - deadline; left <= spare || timeout > 900 {
		c.say(id, "Timeout is %v s with LRCP_TIMEOUT %v, want more than %v between them, and 900 s at most", p["Timeout"], deadline, spare)
	}
}

// concurrency holds that either every control function has executions of its own, or none.
func (c *checker) concurrency(f contract, id string) {
	reserved, is := c.Resources[id].Properties["ReservedConcurrentExecutions"]
	n, number := reserved.(float64)
	switch {
	case !f.control && is:
		c.say(id, "reserves executions, which would bound all requests; only control functions do")
	case is && (!number || n < 1):
		c.say(id, "reserves %v executions: it could never run", reserved)
	case f.control:
		for _, other := range contracts() {
			if _, has := c.Resources[other.id("LambdaFunction")].Properties["ReservedConcurrentExecutions"]; other.control && has && !is {
				c.say(id, "reserves no executions, but %s does", other.id("LambdaFunction"))
				return
			}
		}
	}
}

var (
	secretARN = regexp.MustCompile(`^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[A-Za-z0-9/_+=.@-]+-[A-Za-z0-9]{6}$`)
	mlApp     = regexp.MustCompile(`^[a-z0-9_:./-]{1,193}$`)
)

func (c *checker) environment(f contract, id string, env map[string]any) {
	fixed := common()
	known := slices.Concat(slices.Collect(maps.Keys(fixed)), f.required, f.optional)
	bytes := 0
	for _, name := range slices.Sorted(maps.Keys(env)) {
		value := text(env[name])
		bytes += len(name) + len(value)
		switch {
		case slices.Contains(secrets(), name):
			c.say(id, "%s would hold a secret; give its ARN in %s", name, name+secretSuffix)
		case !slices.Contains(known, name):
			c.say(id, "%s is no variable of this function", name)
		case value == "":
			c.say(id, "%s is empty", name)
		case fixed[name] != "" && value != fixed[name]:
			c.say(id, "%s is %q, want %q", name, value, fixed[name])
		case strings.HasSuffix(name, secretSuffix) && !secretARN.MatchString(value):
			c.say(id, "%s is no complete ARN of a secret, which ends in a dash and six characters", name)
		}
	}
	if bytes > maxEnvironment {
		c.say(id, "its environment has more than the %d bytes that Lambda takes", maxEnvironment)
	}
	for _, name := range slices.Sorted(slices.Values(slices.Concat(slices.Collect(maps.Keys(fixed)), f.required))) {
		if _, ok := env[name]; !ok {
			c.say(id, "%s is missing", name)
		}
	}
	value := func(name string) string { return text(env[name]) }
	if state := value("LRCP_STATE"); state != "" && state != "dynamodb:${"+stateTable+"}" {
		c.say(id, "LRCP_STATE is %q, want the table of this stack", state)
	}
	if app := value("DD_LLMOBS_ML_APP"); app != "" && !mlApp.MatchString(app) {
		c.say(id, "DD_LLMOBS_ML_APP is %q, want lower case, at most 193 characters", app)
	}
	if rules := value("DD_LOGS_CONFIG_PROCESSING_RULES"); rules != "" && !json.Valid([]byte(rules)) {
		c.say(id, "DD_LOGS_CONFIG_PROCESSING_RULES is no JSON")
	}
	c.called(id, "LRCP_PROBE_QA_URL", "Qa", value)
	c.called(id, "LRCP_PROBE_COMPLETION_URL", "Completion", value)
	c.called(id, "LRCP_REMEDIATION_URL", "Remediation", value)
	c.called(id, "LRCP_THEATER_INSIGHTS_URL", "Insights", value)
	c.called(id, "LRCP_THEATER_REMEDIATION_URL", "Remediation", value)
	c.called(id, "LRCP_THEATER_QA_URL", "Qa", value)
	if providers := value("LRCP_PROVIDER"); providers != "" {
		c.provider(id, strings.Split(providers, ","), value)
	}
}

// near holds that the secrets are in the region of the stack, which the layer tells: the functions ask no other.
func (c *checker) near(id string, env map[string]any) {
	layers := texts(c.Resources[id].Properties["Layers"])
	if len(layers) != 1 || !extension.MatchString(layers[0]) {
		return
	}
	region := strings.Split(layers[0], ":")[3]
	for _, name := range slices.Sorted(maps.Keys(env)) {
		arn := text(env[name])
		if strings.HasSuffix(name, secretSuffix) && secretARN.MatchString(arn) && strings.Split(arn, ":")[3] != region {
			c.say(id, "%s is in %s, want a secret in %s", name, strings.Split(arn, ":")[3], region)
		}
	}
}

// called checks where a function sends a secret that opens another.
func (c *checker) called(id, name, target string, value func(string) string) {
	address := value(name)
	if address == "" || address == "${"+target+"LambdaFunctionUrl.FunctionUrl}" {
		return
	}
	if u, err := url.Parse(address); err != nil || u.Scheme != "https" || u.Host == "" {
		c.say(id, "%s is %q, want the function's URL, or one that begins with https://", name, address)
	}
}

// provider asks for what the models of a route need. Without it a function would not start.
func (c *checker) provider(id string, providers []string, value func(string) string) {
	need := func(names ...string) {
		for _, name := range names {
			if value(name) == "" {
				c.say(id, "%s is missing, and LRCP_PROVIDER is %s", name, value("LRCP_PROVIDER"))
			}
		}
	}
	google := false
	for _, p := range providers {
		switch strings.TrimSpace(p) {
		case "vertexai":
			google = true
			need("GOOGLE_CLOUD_LOCATION")
		case "genai":
			google = true
		case "openai":
			need("LRCP_MODEL_STANDARD")
			if value("OPENAI_BASE_URL") == "" {
				need("OPENAI_API_KEY_SECRET_ARN")
			}
		}
	}
	if google {
		// AWS has no application default credentials of Google.
		need("GOOGLE_CLOUD_PROJECT", "LRCP_GOOGLE_CREDENTIALS")
	}
	credentials := value("LRCP_GOOGLE_CREDENTIALS")
	var config struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal([]byte(credentials), &config); credentials != "" && (err != nil || config.Type != "external_account") {
		c.say(id, "LRCP_GOOGLE_CREDENTIALS is no config of workload identity federation, type external_account; a key would be a secret")
	}
}

func (c *checker) logs(f contract) {
	id := f.id("LogGroup")
	if c.Resources[id].Type == "" {
		return
	}
	c.want(id, "/aws/lambda/"+text(c.Resources[f.id("LambdaFunction")].Properties["FunctionName"]), "LogGroupName")
	if days, _ := c.Resources[id].Properties["RetentionInDays"].(float64); days < 1 {
		c.say(id, "keeps logs for ever; RetentionInDays is missing")
	}
}

func (c *checker) url(f contract) {
	id := f.id("LambdaFunctionUrl")
	if !f.url || c.Resources[id].Type == "" {
		return
	}
	c.want(id, "${"+f.id("LambdaFunction")+".Arn}", "TargetFunctionArn")
	c.want(id, "RESPONSE_STREAM", "InvokeMode")
	if get(c.Resources[id].Properties, "Cors") != nil {
		c.say(id, "lets pages of other origins call the function")
	}
	open := text(get(c.Resources[id].Properties, "AuthType"))
	switch open {
	case "NONE":
		for _, p := range public() {
			c.permitted(f, p)
		}
	case "AWS_IAM":
	default:
		c.say(id, "AuthType is %q, want NONE or AWS_IAM", open)
	}
}

// times is a rate or the times of a schedule.
var times = regexp.MustCompile(`^(rate|cron)\(.+\)$`)

func (c *checker) schedule(f contract) {
	if !f.schedule {
		return
	}
	rule, config := f.id("EventsRuleSchedule1"), f.id("LambdaEvConf")
	if c.Resources[rule].Type != "" {
		c.want(rule, "ENABLED", "State")
		if expression := text(c.Resources[rule].Properties["ScheduleExpression"]); !times.MatchString(expression) {
			c.say(rule, "ScheduleExpression is %q, want a rate or cron", expression)
		}
		targets, _ := c.Resources[rule].Properties["Targets"].([]any)
		if len(targets) != 1 || text(get(targets[0], "Arn")) != "${"+f.id("LambdaFunction")+".Arn}" {
			c.say(rule, "must call %s, and nothing else", f.id("LambdaFunction"))
		} else if get(targets[0], "Input") != nil || get(targets[0], "InputPath") != nil || get(targets[0], "InputTransformer") != nil {
			c.say(rule, "sends an event of its own; the function knows a schedule by EventBridge's")
		}
		c.permitted(f, timed(f))
	}
	if c.Resources[config].Type != "" {
		c.want(config, "${"+f.id("LambdaFunction")+"}", "FunctionName")
		c.want(config, "0", "MaximumRetryAttempts")
	}
}

// allowed is what a permission of a function gives to whom.
type allowed struct{ action, principal, urlAuth, source, viaURL string }

// public are the permissions that let everybody call a URL, and nothing but the URL. Since October 2025 a caller needs both.
func public() []allowed {
	return []allowed{
		{action: "lambda:InvokeFunctionUrl", principal: "*", urlAuth: "NONE"},
		{action: "lambda:InvokeFunction", principal: "*", viaURL: "true"},
	}
}

// timed is the permission of the function's schedule.
func timed(f contract) allowed {
	return allowed{action: "lambda:InvokeFunction", principal: "events.amazonaws.com", source: "${" + f.id("EventsRuleSchedule1") + ".Arn}"}
}

func permission(r *resource) (function string, a allowed) {
	p := func(name string) string { return text(r.Properties[name]) }
	return p("FunctionName"), allowed{p("Action"), p("Principal"), p("FunctionUrlAuthType"), p("SourceArn"), p("InvokedViaFunctionUrl")}
}

// permitted asks for one permission.
func (c *checker) permitted(f contract, want allowed) {
	for _, id := range c.of("AWS::Lambda::Permission") {
		if function, a := permission(c.Resources[id]); function == "${"+f.id("LambdaFunction")+".Arn}" && a == want {
			return
		}
	}
	c.say(f.id("LambdaFunction"), "%s has no permission %s", want.principal, want.action)
}

// permissions looks for those that no URL and no schedule needs.
func (c *checker) permissions() {
	for _, id := range c.of("AWS::Lambda::Permission") {
		function, a := permission(c.Resources[id])
		needed := slices.ContainsFunc(contracts(), func(f contract) bool {
			open := f.url && text(c.Resources[f.id("LambdaFunctionUrl")].Properties["AuthType"]) == "NONE"
			return function == "${"+f.id("LambdaFunction")+".Arn}" && (open && slices.Contains(public(), a) || f.schedule && a == timed(f))
		})
		if !needed {
			c.say(id, "lets %q do %s with %s, which no URL and no schedule needs", a.principal, a.action, function)
		}
	}
}
