// Command tools stands in for the tools that a deployment runs: go, node, npx osls, aws, gcloud. It is what its own name says, records
// each call, and plays a cloud whose state is a folder, that of the variable TOOLS_STATE:
//
//	calls.jsonl   each call: arguments, names of the environment, standard input
//	fail          a call that holds this text fails; "after <text>" lets it do its work before it fails
//	hold          a call that holds this text waits for an interrupt, while the cloud goes on with its work
//	secrets       ARNs of the secrets that there are, a line each
//	probe-key     the API key of the probe, when it may be read
//	urls.json     URLs of the functions
//	code/<name>   what go build makes of a function; its name when there is no such file
//	stack.json    the stack of CloudFormation
//	project.json  the project of Google Cloud
package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	out, err := run(filepath.Base(os.Args[0]), os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(254)
	}
	fmt.Print(out)
}

func state(name string) string { return filepath.Join(os.Getenv("TOOLS_STATE"), name) }

func content(name string) string {
	raw, err := os.ReadFile(state(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// run records a call and does what the tool does.
func run(tool string, args []string) (string, error) {
	line := strings.Join(append([]string{tool}, args...), " ")
	if err := record(tool, args); err != nil {
		return "", err
	}
	fail, after := strings.CutPrefix(content("fail"), "after ")
	failing := fail != "" && strings.Contains(line, fail)
	if failing && !after {
		return "", fmt.Errorf("AccessDenied: the stand-in was told to fail at %q", fail)
	}
	if hold := content("hold"); hold != "" && strings.Contains(line, hold) {
		interrupted := make(chan os.Signal, 1)
		signal.Notify(interrupted, os.Interrupt)
		s, err := load()
		if err != nil {
			return "", err
		}
		s.Goal = args[slices.Index(args, "osls")+1]
		s.Status = map[string]string{"deploy": "UPDATE_IN_PROGRESS", "remove": "DELETE_IN_PROGRESS"}[s.Goal]
		if s.Template == nil && s.Goal == "deploy" {
			s.Status = "CREATE_IN_PROGRESS"
		}
		s.Args = args
		if err := s.save(); err != nil {
			return "", err
		}
		fmt.Fprintln(os.Stderr, "holding")
		<-interrupted
		return "", errors.New("interrupted")
	}
	out, err := perform(tool, args)
	if err == nil && failing {
		err = errors.New("the stand-in was told to fail afterwards")
	}
	return out, err
}

func record(tool string, args []string) error {
	stdin, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var names []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		names = append(names, name)
	}
	raw, err := json.Marshal(map[string]any{"argv": append([]string{tool}, args...), "env": names, "stdin": string(stdin)})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(state("calls.jsonl"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(raw, '\n'))
	return errors.Join(err, f.Close())
}

// option returns the value of an option.
func option(args []string, name string) string {
	if i := slices.Index(args, name); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}

func perform(tool string, args []string) (string, error) {
	switch tool {
	case "node":
		return "v20.20.2\n", nil
	case "gcloud":
		return runGcloud(args)
	case "go":
		if args[0] == "list" {
			return listPackages()
		}
		name := filepath.Base(filepath.Dir(args[len(args)-1]))
		code := content("code/" + name)
		if code == "" {
			code = name
		}
		return "", os.WriteFile(option(args, "-o"), []byte(code), 0o700)
	case "npx":
		return "", osls(args[2], args)
	case "aws":
		return aws(args)
	}
	return "", fmt.Errorf("no such tool: %s", tool)
}

// stack is what CloudFormation keeps.
type stack struct {
	Status   string
	Template map[string]any
	Code     map[string]string
	// Goal and Args are what the cloud works on while it is busy.
	Goal string
	Args []string
}

func load() (*stack, error) {
	s := &stack{Code: map[string]string{}}
	raw := content("stack.json")
	if raw == "" {
		return s, nil
	}
	return s, json.Unmarshal([]byte(raw), s)
}

func (s *stack) save() error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(state("stack.json"), raw, 0o600)
}

// urls are those of the functions; each function that has one has an output.
func urls() (map[string]string, error) {
	out := map[string]string{}
	return out, json.Unmarshal([]byte(content("urls.json")), &out)
}

// osls packages, deploys and removes.
func osls(verb string, args []string) error {
	switch verb {
	case "package":
		return pack(args)
	case "deploy":
		return deploy(args)
	case "remove":
		return os.Remove(state("stack.json"))
	}
	return fmt.Errorf("osls: no command %s", verb)
}

// pack writes a template: the functions with the parameters in their environment, and a table that is retained. Where the
// code lies is named anew each time.
func pack(args []string) error {
	resources := map[string]any{"StateTable": map[string]any{"Type": "AWS::DynamoDB::Table", "DeletionPolicy": "RetainExceptOnCreate"}}
	environment := map[string]any{}
	for i, a := range args {
		if a == "--param" {
			name, value, _ := strings.Cut(args[i+1], "=")
			environment[name] = value
		}
	}
	folders, err := filepath.Glob("functions/*/cmd")
	if err != nil {
		return err
	}
	for _, folder := range folders {
		name := filepath.Base(filepath.Dir(folder))
		resources[strings.ToUpper(name[:1])+name[1:]+"LambdaFunction"] = map[string]any{
			"Type": "AWS::Lambda::Function",
			"Properties": map[string]any{
				"FunctionName": "llm-reliability-control-plane-" + option(args, "--stage") + "-" + name,
				"Code":         map[string]any{"S3Key": fmt.Sprintf("serverless/%d/%s.zip", os.Getpid(), name)},
				"Environment":  map[string]any{"Variables": environment},
			},
		}
	}
	raw, err := json.Marshal(map[string]any{"Resources": resources})
	if err != nil {
		return err
	}
	dir := option(args, "--package")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "cloudformation-template-update-stack.json"), raw, 0o600)
}

// deploy makes the stack what was packaged.
func deploy(args []string) error {
	s, err := load()
	if err != nil {
		return err
	}
	if s.Status == "ROLLBACK_COMPLETE" {
		return errors.New("ValidationError: stack is in ROLLBACK_COMPLETE state and can not be updated")
	}
	raw, err := os.ReadFile(filepath.Join(option(args, "--package"), "cloudformation-template-update-stack.json"))
	if err != nil {
		return err
	}
	s.Status = "UPDATE_COMPLETE"
	if s.Template == nil {
		s.Status = "CREATE_COMPLETE"
	}
	s.Template = nil
	if err := json.Unmarshal(raw, &s.Template); err != nil {
		return err
	}
	zips, err := filepath.Glob("build/lambda/*.zip")
	if err != nil {
		return err
	}
	for _, zip := range zips {
		raw, err := os.ReadFile(zip)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(raw)
		s.Code[strings.TrimSuffix(filepath.Base(zip), ".zip")] = base64.StdEncoding.EncodeToString(sum[:])
	}
	return s.save()
}

// aws answers what a deployment asks.
func aws(args []string) (string, error) {
	s, err := load()
	if err != nil {
		return "", err
	}
	switch verb := strings.Join(args[:2], " "); verb {
	case "sts get-caller-identity":
		return answer(map[string]any{"Account": "123456789012"})
	case "secretsmanager describe-secret":
		arn := option(args, "--secret-id")
		if !slices.Contains(strings.Fields(content("secrets")), arn) {
			return "", errors.New("An error occurred (ResourceNotFoundException) when calling the DescribeSecret operation: Secrets Manager can't find the specified secret.")
		}
		return answer(map[string]any{"ARN": arn})
	case "secretsmanager get-secret-value":
		key := content("probe-key")
		if key == "" {
			return "", errors.New("An error occurred (AccessDeniedException) when calling the GetSecretValue operation")
		}
		return answer(map[string]any{"SecretString": key})
	case "cloudformation describe-stacks":
		if s.Status == "" {
			return "", fmt.Errorf("An error occurred (ValidationError) when calling the DescribeStacks operation: Stack with id %s does not exist", option(args, "--stack-name"))
		}
		var outputs []map[string]string
		addresses, err := urls()
		if err != nil {
			return "", err
		}
		for name, url := range addresses {
			outputs = append(outputs, map[string]string{"OutputKey": strings.ToUpper(name[:1]) + name[1:] + "LambdaFunctionUrl", "OutputValue": url + "/"})
		}
		if s.Template == nil {
			outputs = nil
		}
		return answer(map[string]any{"Stacks": []any{map[string]any{"StackStatus": s.Status, "Outputs": outputs}}})
	case "cloudformation get-template":
		return answer(map[string]any{"TemplateBody": s.Template})
	case "cloudformation list-stack-resources":
		list := []any{}
		resources, _ := s.Template["Resources"].(map[string]any)
		for name, r := range resources {
			body, _ := r.(map[string]any)
			list = append(list, map[string]any{"LogicalResourceId": name, "PhysicalResourceId": "physical-" + name, "ResourceType": body["Type"]})
		}
		return answer(map[string]any{"StackResourceSummaries": list})
	case "cloudformation wait":
		if s.Goal == "" {
			return "", errors.New("Waiter failed")
		}
		return "", osls(s.Goal, s.Args)
	case "lambda get-function-configuration":
		name := option(args, "--function-name")
		return answer(map[string]any{"CodeSha256": s.Code[name[strings.LastIndex(name, "-")+1:]]})
	default:
		return "", fmt.Errorf("aws: the stand-in knows no %s", verb)
	}
}

func answer(v any) (string, error) {
	raw, err := json.Marshal(v)
	return string(raw), err
}
