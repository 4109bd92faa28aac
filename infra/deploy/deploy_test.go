package deploy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/deploy"
)

// TestMain makes the test binary a tool when it is asked to be one.
func TestMain(m *testing.M) {
	switch os.Getenv("TOOL") {
	case "echo":
		fmt.Println(strings.Join(os.Args[1:], " "))
		if _, err := bytes.NewBuffer(nil).ReadFrom(os.Stdin); err != nil {
			os.Exit(3)
		}
		os.Exit(0)
	case "env":
		fmt.Println(os.Getenv("KEPT") + os.Getenv("HIDDEN_KEY"))
		os.Exit(0)
	case "fail":
		fmt.Fprintln(os.Stderr, strings.Repeat("early words ", 400)+"NoSuchStack: it is not there")
		fmt.Println("Error: told on standard output")
		os.Exit(4)
	case "wait":
		interrupted := make(chan os.Signal, 1)
		signal.Notify(interrupted, os.Interrupt)
		fmt.Fprintln(os.Stderr, "ready")
		<-interrupted
		fmt.Fprintln(os.Stderr, "tidied up")
		os.Exit(5)
	}
	os.Exit(m.Run())
}

// recorder is a Runner that keeps the commands, and fails at one of them.
type recorder struct {
	ran    []string
	failAt string
}

func (r *recorder) Look(string) error { return nil }

func (r *recorder) Run(_ context.Context, c deploy.Command) ([]byte, error) {
	if c.String() == r.failAt {
		return nil, &deploy.CommandError{Command: c, Stderr: "AccessDenied", Err: errors.New("exit status 1")}
	}
	r.ran = append(r.ran, c.String())
	return nil, nil
}

func step(name string, action deploy.Action, commands ...string) deploy.Step {
	change := deploy.Change{Action: action, Details: []string{"detail of " + name}}
	for _, c := range commands {
		change.Commands = append(change.Commands, deploy.Command{Name: c})
	}
	return deploy.Step{Name: name, Plan: func(context.Context) (deploy.Change, error) { return change, nil }}
}

func TestApply(t *testing.T) {
	steps := []deploy.Step{
		step("remains", deploy.None, "never"), step("table", deploy.Unchanged, "never"), step("stack", deploy.Create, "one", "two"),
		step("role", deploy.Update, "three"), step("health", deploy.Check, "four"),
	}
	tests := map[string]struct {
		failAt string
		want   deploy.Report
		ran    []string
	}{
		"everything works": {
			want: deploy.Report{Done: []string{"stack", "role", "health"}},
			ran:  []string{"one", "two", "three", "four"},
		},
		"the second command of the first step fails": {
			failAt: "two",
			want:   deploy.Report{Done: []string{}, Failed: "stack", Left: []string{"role", "health"}},
			ran:    []string{"one"},
		},
		"the last step fails": {
			failAt: "four",
			want:   deploy.Report{Done: []string{"stack", "role"}, Failed: "health"},
			ran:    []string{"one", "two", "three"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			plan, err := deploy.Look(t.Context(), steps)
			if err != nil {
				t.Fatal(err)
			}
			runner := &recorder{failAt: tc.failAt}
			var told []string
			got := plan.Apply(t.Context(), runner, func(s deploy.Planned) { told = append(told, s.Name) })
			if (got.Err != nil) != (tc.failAt != "") {
				t.Errorf("error %v", got.Err)
			}
			if tc.failAt != "" && !deploy.Said(got.Err, "nothing", "AccessDenied") {
				t.Errorf("the error %v lost what the tool said", got.Err)
			}
			got.Err = nil
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("report, want - got +:\n%s", diff)
			}
			if diff := cmp.Diff(tc.ran, runner.ran); diff != "" {
				t.Errorf("commands, want - got +:\n%s", diff)
			}
			if told[0] != "stack" {
				t.Errorf("told of %v", told)
			}
		})
	}
}

func TestApplyStopsBeforeTheNextStepWhenInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	first := step("first", deploy.Create)
	first.Do = func(context.Context, deploy.Change) error {
		cancel(errors.New("interrupted"))
		return nil
	}
	plan, err := deploy.Look(ctx, []deploy.Step{first, step("second", deploy.Create, "never"), step("third", deploy.Create, "never")})
	if err != nil {
		t.Fatal(err)
	}
	runner := &recorder{}
	got := plan.Apply(ctx, runner, func(deploy.Planned) {})
	want := "done:\n  first\nfailed, and perhaps done in part:\n  second: interrupted\nnot done:\n  third\nto go on:\n  again\n"
	if diff := cmp.Diff(want, got.Text("again")); diff != "" || len(runner.ran) > 0 {
		t.Errorf("ran %v; report, want - got +:\n%s", runner.ran, diff)
	}
}

func TestPlanText(t *testing.T) {
	secret := deploy.Change{
		Action: deploy.Create, Notes: []string{"the table stays"},
		Commands: []deploy.Command{{
			Name: "aws", Args: []string{"put", "it's here", ""}, Dir: "a b", Env: []string{"GOOS=linux", "EMPTY="}, Stdin: []byte("s3cret"),
		}},
	}
	plan, err := deploy.Look(t.Context(), []deploy.Step{
		step("remains", deploy.None),
		step("table", deploy.Unchanged),
		{Name: "secret", Plan: func(context.Context) (deploy.Change, error) { return secret, nil }},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `= unchanged table
    detail of table
+ create secret
    $ (cd 'a b' && GOOS=linux EMPTY='' aws put 'it'\''s here' '' < …)
note: the table stays
Plan: 1 to create, 0 to update, 0 to delete, 1 unchanged.
`
	if diff := cmp.Diff(want, plan.Text(true)); diff != "" {
		t.Errorf("with commands, want - got +:\n%s", diff)
	}
	if text := plan.Text(false); strings.Contains(text, "$") {
		t.Errorf("commands that nobody asked for:\n%s", text)
	}
	if plan.Empty() || !plan[:2].Empty() || !strings.HasSuffix(plan[:2].Text(false), "Nothing to change.\n") {
		t.Errorf("two steps change nothing, three do: %v, %v", plan[:2].Empty(), plan.Empty())
	}
}

func TestLookNamesTheStepThatCanNotBePlanned(t *testing.T) {
	broken := errors.New("no answer")
	_, err := deploy.Look(t.Context(), []deploy.Step{
		{Name: "stack", Plan: func(context.Context) (deploy.Change, error) { return deploy.Change{}, broken }},
	})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "plan stack") {
		t.Errorf("error %v", err)
	}
}

func TestProblemsAreOneList(t *testing.T) {
	err := deploy.Problems{{What: "aws is not installed", Fix: "see its manual"}, {What: "no region"}}
	want := "nothing was touched; 2 things are missing:\n  - aws is not installed: see its manual\n  - no region"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("want - got +:\n%s", diff)
	}
}

// self is the test binary as a tool.
func self(t *testing.T, tool string, args ...string) deploy.Command {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return deploy.Command{Name: path, Args: args, Env: []string{"TOOL=" + tool}}
}

func TestExec(t *testing.T) {
	var stderr bytes.Buffer
	var traced []string
	runner := deploy.Exec{Stderr: &stderr, Trace: func(c deploy.Command) { traced = append(traced, c.String()) }}
	out, err := runner.Run(t.Context(), self(t, "echo", "a", "b c"))
	if err != nil || string(out) != "a b c\n" {
		t.Errorf("output %q, error %v", out, err)
	}
	if len(traced) != 1 || !strings.Contains(traced[0], "'b c'") {
		t.Errorf("traced %q", traced)
	}
	t.Setenv("KEPT", "kept")
	t.Setenv("HIDDEN_KEY", "s3cret")
	if out, err = (deploy.Exec{Hide: []string{"HIDDEN_"}}).Run(t.Context(), self(t, "env")); err != nil || string(out) != "kept\n" {
		t.Errorf("environment %q, error %v", out, err)
	}
	_, err = runner.Run(t.Context(), self(t, "fail"))
	if ended, ok := errors.AsType[*exec.ExitError](err); !ok || ended.ExitCode() != 4 {
		t.Errorf("error %v, want exit status 4", err)
	}
	if !deploy.Said(err, "NoSuchStack") || !deploy.Said(err, "told on standard output") || len(err.Error()) > 4<<10 || !strings.Contains(stderr.String(), "early words") {
		t.Errorf("the end of what was said in the error, and all of it on the terminal: %d bytes, %d bytes", len(err.Error()), stderr.Len())
	}
	if err := runner.Look("no-such-tool-anywhere"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("error %v, want one that wraps exec.ErrNotFound", err)
	}
}

func TestExecShowsNothingOfASecretCommand(t *testing.T) {
	var stderr bytes.Buffer
	c := self(t, "fail")
	c.Secret = true
	_, err := deploy.Exec{Stderr: &stderr}.Run(t.Context(), c)
	if err == nil || stderr.Len() > 0 || strings.Contains(err.Error(), "NoSuchStack") || strings.Contains(err.Error(), "early") || strings.Contains(err.Error(), "told on") {
		t.Errorf("shown %q, error %v", stderr.String(), err)
	}
}

// onReady cancels when a tool says that it is ready.
type onReady struct{ cancel func() }

func (o onReady) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("ready")) {
		o.cancel()
	}
	return len(p), nil
}

func TestExecInterruptsAndLetsTheToolTidyUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := deploy.Exec{Stderr: onReady{cancel}}.Run(ctx, self(t, "wait"))
	if !errors.Is(err, context.Canceled) || !deploy.Said(err, "tidied up") {
		t.Errorf("error %v, want the cancellation and the last words of the tool", err)
	}
}
