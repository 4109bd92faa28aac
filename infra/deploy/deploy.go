// Package deploy carries out a deployment to a cloud: what is missing is listed, what would change is shown, and then it is
// done, step by step. It knows no cloud: a Target supplies the steps, which call the cloud's own command-line tools through a
// Runner, so that everything that is done can also be read, and done by hand.
//
//	problems := target.Requirements(ctx)   // one list, before anything is touched
//	target.Prepare(ctx)                    // build and package, on this machine only
//	plan := deploy.Look(ctx, steps)        // reads the cloud, changes nothing
//	report := plan.Apply(ctx, runner, …)   // stops at the first failure, and says what is left
//
// There is no state file and no roll-back. Each step compares what should be with what is, so the way on after a failure is
// the same command again: what was done is found unchanged.
//
// It is not the deployment of Datadog assets, which is infra/assets/deploy; scripts/lrcp puts the two together.
package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Target is a cloud that functions are deployed to, with the stage and the settings of one deployment.
type Target interface {
	// Requirements returns everything that is missing: tools, credentials, settings, things that must exist in the cloud. It
	// changes nothing and, where one thing is missing, goes on with what does not depend on it.
	Requirements(ctx context.Context) []Problem
	// Prepare builds and packages on this machine. It calls no cloud in a way that changes anything there.
	Prepare(ctx context.Context) error
	// Steps returns the steps of the deployment, in order. Prepare was called before.
	Steps() []Step
	// URLs returns the base URL of each function that is deployed, by name, without a slash at the end. It is empty, and no
	// error, where nothing is deployed.
	URLs(ctx context.Context) (map[string]string, error)
	// DestroySteps returns the steps that undo the deployment, in order. Prepare need not have been called.
	DestroySteps() []Step
}

// Problem is something that is missing, and how to get it.
type Problem struct {
	What string `json:"what"`
	Fix  string `json:"fix,omitempty"`
}

// String returns both on one line.
func (p Problem) String() string {
	if p.Fix == "" {
		return p.What
	}
	return p.What + ": " + p.Fix
}

// Problems is the error of a deployment that can't begin.
type Problems []Problem

// Error lists every problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = "\n  - " + problem.String()
	}
	return fmt.Sprintf("nothing was touched; %d things are missing:%s", len(p), strings.Join(lines, ""))
}

// Action is what a step does.
type Action string

// The actions.
const (
	// None is of a step that this deployment does not need. It is not shown.
	None Action = ""

	Create    Action = "create"
	Update    Action = "update"
	Delete    Action = "delete"
	Unchanged Action = "unchanged"
	// Check changes nothing and is done each time: a smoke test, for example.
	Check Action = "check"
)

// Change is what a step would do.
type Change struct {
	Action Action `json:"action"`
	// Details are for people, a line each: which resources, which properties.
	Details []string `json:"details,omitempty"`
	// Commands are those that carry it out, in order.
	Commands []Command `json:"commands,omitempty"`
	// Notes are what people should know and no command shows: what is left behind, for example.
	Notes []string `json:"notes,omitempty"`
}

// Step is one part of a deployment. It should run one command that changes something, so that a report of what was done and
// what was not is exact.
type Step struct {
	// Name says what it is about in a few words: "stack lrcp-prod", "service qa".
	Name string
	// Plan reads what is, and says what would be done. It must not change anything. It runs before the first step is done, so
	// it must bear that what earlier steps make is not there yet.
	Plan func(ctx context.Context) (Change, error)
	// Do carries the change out. When it is nil, the commands of the change are run in order. It is not called for a change
	// that is None or Unchanged, and must be safe to repeat.
	Do func(ctx context.Context, change Change) error
}

// Planned is a step and what it would do.
type Planned struct {
	Step
	Change
}

// Plan is what a deployment would do, in order.
type Plan []Planned

// idle is whether there is nothing to do.
func (s Planned) idle() bool { return s.Action == None || s.Action == Unchanged }

// Look plans the steps.
func Look(ctx context.Context, steps []Step) (Plan, error) {
	plan := make(Plan, 0, len(steps))
	for _, s := range steps {
		change, err := s.Plan(ctx)
		if err != nil {
			return nil, fmt.Errorf("plan %s: %w", s.Name, err)
		}
		plan = append(plan, Planned{Step: s, Change: change})
	}
	return plan, nil
}

// Empty reports whether nothing would change.
func (p Plan) Empty() bool {
	return !slices.ContainsFunc(p, func(s Planned) bool { return !s.idle() && s.Action != Check })
}

// signs stand before the actions.
var signs = map[Action]string{Create: "+", Update: "~", Delete: "-", Unchanged: "=", Check: "?"}

// Text returns the plan for people: a line for each step with what it changes below, and the commands where they are asked
// for. Secrets are in none of them.
func (p Plan) Text(commands bool) string {
	var b strings.Builder
	count := map[Action]int{}
	var notes []string
	for _, s := range p {
		if s.Action == None {
			continue
		}
		count[s.Action]++
		fmt.Fprintf(&b, "%s %s %s\n", signs[s.Action], s.Action, s.Name)
		for _, line := range s.Details {
			fmt.Fprintf(&b, "    %s\n", line)
		}
		if commands {
			for _, c := range s.Commands {
				fmt.Fprintf(&b, "    $ %s\n", c)
			}
		}
		notes = append(notes, s.Notes...)
	}
	for _, note := range notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	if p.Empty() {
		b.WriteString("Nothing to change.\n")
		return b.String()
	}
	fmt.Fprintf(&b, "Plan: %d to create, %d to update, %d to delete, %d unchanged.\n",
		count[Create], count[Update], count[Delete], count[Unchanged])
	return b.String()
}

// Report is what came of a plan.
type Report struct {
	// Done are the names of the steps that were carried out, and Left those that were not, for the failure before them.
	Done []string `json:"done"`
	Left []string `json:"left,omitempty"`
	// Failed is the step that failed, part of which may have been done, and Err why. Both are empty after a success.
	Failed string `json:"failed,omitempty"`
	Err    error  `json:"-"`
}

// Apply carries out a plan. It stops at the first failure, and before the next step when ctx ends. A step that is told of is
// about to begin.
func (p Plan) Apply(ctx context.Context, runner Runner, tell func(Planned)) Report {
	report := Report{Done: []string{}}
	for i, s := range p {
		if s.idle() {
			continue
		}
		err := context.Cause(ctx)
		if err == nil {
			tell(s)
			err = s.carryOut(ctx, runner)
		}
		if err != nil {
			report.Failed, report.Err = s.Name, err
			for _, left := range p[i+1:] {
				if !left.idle() {
					report.Left = append(report.Left, left.Name)
				}
			}
			return report
		}
		report.Done = append(report.Done, s.Name)
	}
	return report
}

func (s Planned) carryOut(ctx context.Context, runner Runner) error {
	if s.Do != nil {
		return s.Do(ctx, s.Change)
	}
	for _, c := range s.Commands {
		if _, err := runner.Run(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// Text returns the report for people; resume is the command to go on.
func (r Report) Text(resume string) string {
	var b strings.Builder
	list := func(title string, names []string) {
		if len(names) == 0 {
			names = []string{"nothing"}
		}
		fmt.Fprintf(&b, "%s:\n", title)
		for _, name := range names {
			fmt.Fprintf(&b, "  %s\n", name)
		}
	}
	list("done", r.Done)
	if r.Err == nil {
		return b.String()
	}
	fmt.Fprintf(&b, "failed, and perhaps done in part:\n  %s: %v\n", r.Failed, r.Err)
	list("not done", r.Left)
	fmt.Fprintf(&b, "to go on:\n  %s\n", resume)
	return b.String()
}
