package lambda

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/deploy"
)

// stack is what CloudFormation says about the stack.
type stack struct {
	StackStatus string
	Outputs     []struct{ OutputKey, OutputValue string }
}

// exists is whether there is something to compare with. A stack in review is only the name of a change set.
func (s stack) exists() bool { return s.StackStatus != "" && s.StackStatus != "REVIEW_IN_PROGRESS" }

// busy is whether CloudFormation works on the stack.
func (s stack) busy() bool { return s.exists() && strings.HasSuffix(s.StackStatus, "_IN_PROGRESS") }

// dead is whether the stack never came into being, and can only be deleted.
func (s stack) dead() bool {
	return slices.Contains([]string{"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"}, s.StackStatus)
}

// describe asks for the stack. One that isn't there has no status.
func (t *Target) describe(ctx context.Context) (stack, error) {
	out, err := t.aws(ctx, "cloudformation", "describe-stacks", "--stack-name", t.stack)
	if deploy.Said(err, "does not exist") {
		return stack{}, nil
	}
	if err != nil {
		return stack{}, err
	}
	var answer struct{ Stacks []stack }
	if err := json.Unmarshal(out, &answer); err != nil || len(answer.Stacks) != 1 {
		return stack{}, fmt.Errorf("aws cloudformation describe-stacks: %d stacks %s (%w)", len(answer.Stacks), t.stack, err)
	}
	return answer.Stacks[0], nil
}

// settled returns the stack when CloudFormation works on it no more: somebody may have interrupted a deployment, which
// interrupts only the waiting for it.
func (t *Target) settled(ctx context.Context) (stack, error) {
	s, err := t.describe(ctx)
	if err != nil || !s.busy() {
		return s, err
	}
	t.opts.Tell(fmt.Sprintf("waiting for CloudFormation: stack %s is %s", t.stack, s.StackStatus))
	waiter := "stack-update-complete"
	switch {
	case strings.HasPrefix(s.StackStatus, "CREATE"), strings.HasPrefix(s.StackStatus, "ROLLBACK"):
		waiter = "stack-create-complete"
	case strings.HasPrefix(s.StackStatus, "DELETE"):
		waiter = "stack-delete-complete"
	}
	// A waiter fails too when the stack ends in another state than the one that it waits for; that is judged later.
	_, waited := t.aws(ctx, "cloudformation", "wait", waiter, "--stack-name", t.stack)
	s, err = t.describe(ctx)
	if err == nil && s.busy() {
		err = fmt.Errorf("stack %s is still %s (%w); run the same command again later", t.stack, s.StackStatus, waited)
	}
	return s, err
}

// deployed returns the template of the stack.
func (t *Target) deployed(ctx context.Context) ([]byte, error) {
	out, err := t.aws(ctx, "cloudformation", "get-template", "--stack-name", t.stack, "--template-stage", "Original")
	if err != nil {
		return nil, err
	}
	var answer struct{ TemplateBody json.RawMessage }
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, fmt.Errorf("aws cloudformation get-template: %w", err)
	}
	var text string
	if json.Unmarshal(answer.TemplateBody, &text) == nil {
		return []byte(text), nil
	}
	return answer.TemplateBody, nil
}

// Steps implements deploy.Target.
func (t *Target) Steps() []deploy.Step {
	return []deploy.Step{
		{Name: "failed stack " + t.stack, Plan: t.planClear},
		{Name: "stack " + t.stack, Plan: t.planStack},
	}
}

// planClear plans the removal of a stack that can't be updated: CloudFormation keeps one whose creation failed.
func (t *Target) planClear(ctx context.Context) (deploy.Change, error) {
	s, err := t.settled(ctx)
	if err != nil || !s.dead() {
		return deploy.Change{Action: deploy.None}, err
	}
	return deploy.Change{
		Action: deploy.Delete, Details: []string{"its creation or deletion failed: " + s.StackStatus},
		Commands: []deploy.Command{t.osls("remove")},
	}, nil
}

// planStack compares the generated template and the zips with the stack.
func (t *Target) planStack(ctx context.Context) (deploy.Change, error) {
	generated, err := os.ReadFile(filepath.Join(t.opts.Root, t.packageDir(), "cloudformation-template-update-stack.json"))
	if err != nil {
		return deploy.Change{}, fmt.Errorf("read what osls generated: %w", err)
	}
	s, err := t.settled(ctx)
	if err != nil {
		return deploy.Change{}, err
	}
	change := deploy.Change{Action: deploy.Create, Commands: []deploy.Command{t.osls("deploy")}}
	old := []byte("{}")
	if s.exists() && !s.dead() {
		change.Action = deploy.Update
		if old, err = t.deployed(ctx); err != nil {
			return deploy.Change{}, err
		}
	}
	if change.Details, err = Compare(old, generated); err != nil {
		return deploy.Change{}, err
	}
	if change.Action == deploy.Update {
		code, err := t.changedCode(ctx, old, generated)
		if err != nil {
			return deploy.Change{}, err
		}
		change.Details = append(change.Details, code...)
		// An update that was rolled back left the template of before, with whatever the roll-back could not restore.
		if s.StackStatus == "UPDATE_ROLLBACK_FAILED" {
			return deploy.Change{}, fmt.Errorf("stack %s is UPDATE_ROLLBACK_FAILED; first: %s", t.stack,
				awsCommand(t.opts.Region, "cloudformation", "continue-update-rollback", "--stack-name", t.stack))
		}
	}
	if len(change.Details) == 0 {
		return deploy.Change{Action: deploy.Unchanged}, nil
	}
	change.Details = slices.Insert(change.Details, 0, t.where())
	return change, nil
}

// where says where the stack is: the same stage may be in several accounts.
func (t *Target) where() string { return fmt.Sprintf("in account %s, %s", t.account, t.opts.Region) }

// changedCode compares the zips with the code that runs, for functions that both templates have.
func (t *Target) changedCode(ctx context.Context, old, generated []byte) (lines []string, err error) {
	before, err := functionsOf(old)
	if err != nil {
		return nil, err
	}
	after, err := functionsOf(generated)
	if err != nil {
		return nil, err
	}
	for _, name := range t.opts.Functions {
		logical := logicalName(name)
		if before[logical] == "" || after[logical] == "" {
			continue
		}
		zip, err := os.ReadFile(filepath.Join(t.zips(), name+".zip"))
		if err != nil {
			return nil, fmt.Errorf("read zip of %s: %w", name, err)
		}
		sum := sha256.Sum256(zip)
		want := base64.StdEncoding.EncodeToString(sum[:])
		out, err := t.aws(ctx, "lambda", "get-function-configuration", "--function-name", before[logical])
		if deploy.Said(err, "ResourceNotFoundException") {
			lines = append(lines, fmt.Sprintf("! function %s was deleted by hand; remove the stack, or make it again", before[logical]))
			continue
		}
		if err != nil {
			return nil, err
		}
		var running struct{ CodeSha256 string }
		if err := json.Unmarshal(out, &running); err != nil {
			return nil, fmt.Errorf("aws lambda get-function-configuration: %w", err)
		}
		if running.CodeSha256 != want {
			lines = append(lines, fmt.Sprintf("~ code of %s: sha256 %.12s → %.12s", name, running.CodeSha256, want))
		}
	}
	return lines, nil
}

// urlSuffix ends the outputs that osls makes for function URLs.
const urlSuffix = "LambdaFunctionUrl"

// URLs implements deploy.Target.
func (t *Target) URLs(ctx context.Context) (map[string]string, error) {
	s, err := t.describe(ctx)
	if err != nil {
		return nil, err
	}
	urls := map[string]string{}
	for _, o := range s.Outputs {
		logical, ok := strings.CutSuffix(o.OutputKey, urlSuffix)
		if i := slices.IndexFunc(t.opts.Functions, func(f string) bool { return logicalName(f) == logical+"LambdaFunction" }); ok && i >= 0 {
			urls[t.opts.Functions[i]] = strings.TrimSuffix(o.OutputValue, "/")
		}
	}
	return urls, nil
}

// ProbeKey reads the API key that the probe calls the data functions with. Who deploys may do without the permission.
func (t *Target) ProbeKey(ctx context.Context) (string, error) {
	command := awsCommand(t.opts.Region, "secretsmanager", "get-secret-value", "--secret-id", t.opts.Params["probe_key_arn"])
	command.Secret = true
	out, err := t.opts.Runner.Run(ctx, command)
	if err != nil {
		return "", err
	}
	var secret struct{ SecretString string }
	if err := json.Unmarshal(out, &secret); err != nil || secret.SecretString == "" {
		return "", errors.New("aws secretsmanager get-secret-value: no text")
	}
	return secret.SecretString, nil
}

// logicalName is what osls calls the function in the template.
func logicalName(function string) string {
	return strings.ToUpper(function[:1]) + function[1:] + "LambdaFunction"
}

// DestroySteps implements deploy.Target.
func (t *Target) DestroySteps() []deploy.Step {
	return []deploy.Step{{Name: "stack " + t.stack, Plan: t.planDestroy}}
}

// planDestroy plans the removal of the stack, and says what CloudFormation will leave.
func (t *Target) planDestroy(ctx context.Context) (deploy.Change, error) {
	s, err := t.settled(ctx)
	if err != nil || s.StackStatus == "" {
		return deploy.Change{Action: deploy.Unchanged}, err
	}
	change := deploy.Change{Action: deploy.Delete, Commands: []deploy.Command{t.osls("remove")}}
	template, err := t.deployed(ctx)
	if err != nil {
		return deploy.Change{}, err
	}
	out, err := t.aws(ctx, "cloudformation", "list-stack-resources", "--stack-name", t.stack)
	if err != nil {
		return deploy.Change{}, err
	}
	var answer struct {
		StackResourceSummaries []struct {
			Logical  string `json:"LogicalResourceId"`
			Physical string `json:"PhysicalResourceId"`
			Type     string `json:"ResourceType"`
		}
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return deploy.Change{}, fmt.Errorf("aws cloudformation list-stack-resources: %w", err)
	}
	kept, err := retained(template)
	if err != nil {
		return deploy.Change{}, err
	}
	for _, r := range answer.StackResourceSummaries {
		if !kept[r.Logical] {
			change.Details = append(change.Details, fmt.Sprintf("- %s (%s) %s", r.Logical, r.Type, r.Physical))
			continue
		}
		change.Notes = append(change.Notes, leftBehind(t.opts.Region, r.Type, r.Physical))
	}
	slices.Sort(change.Details)
	change.Details = slices.Insert(change.Details, 0, t.where())
	return change, nil
}

// leftBehind says what stays, and how it is deleted.
func leftBehind(region, kind, id string) string {
	note := fmt.Sprintf("%s %s stays", kind, id)
	if kind == "AWS::DynamoDB::Table" {
		note += ", with the audit trail in it; to delete it: " + awsCommand(region, "dynamodb", "delete-table", "--table-name", id).String()
	}
	return note
}
