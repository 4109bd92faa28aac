package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Command is one call of a tool. Its name, arguments, folder and environment are shown to people and so must hold no secret:
// a secret goes in through Stdin, which is never shown.
type Command struct {
	Name string
	Args []string
	// Dir is the folder to run in; the Runner's when empty.
	Dir string
	// Env are NAME=value, added to the environment of the process.
	Env   []string
	Stdin []byte
	// Secret says that the output holds a secret: no part of it is shown, also when the command fails.
	Secret bool
}

// plain needs no quotes in a shell.
var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// Quote returns a word as a shell reads it back.
func Quote(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// String returns the command as it can be pasted into a shell. What it would read from standard input is left out.
func (c Command) String() string {
	var words []string
	for _, pair := range c.Env {
		name, value, _ := strings.Cut(pair, "=")
		words = append(words, name+"="+Quote(value))
	}
	words = append(words, Quote(c.Name))
	for _, a := range c.Args {
		words = append(words, Quote(a))
	}
	line := strings.Join(words, " ")
	if c.Stdin != nil {
		line += " < …"
	}
	if c.Dir != "" {
		line = "(cd " + Quote(c.Dir) + " && " + line + ")"
	}
	return line
}

// MarshalJSON writes the command as people read it.
func (c Command) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// Runner runs tools.
type Runner interface {
	// Look returns an error that wraps exec.ErrNotFound where a tool is not installed.
	Look(name string) error
	// Run returns what a command wrote to its standard output. The error of a command that ran and failed is a *CommandError.
	Run(ctx context.Context, c Command) (stdout []byte, err error)
}

// CommandError is the error of a command that failed.
type CommandError struct {
	Command Command
	// Stderr is the end of what it said, empty for a secret one. What it said on its standard output comes after: some tools tell
	// their errors there.
	Stderr string
	Err    error
}

// Error says which command failed, and its last words.
func (e *CommandError) Error() string {
	text := fmt.Sprintf("%s: %v", e.Command, e.Err)
	if e.Stderr != "" {
		text += ": " + e.Stderr
	}
	return text
}

// Unwrap returns what came of the process.
func (e *CommandError) Unwrap() error { return e.Err }

// Said reports whether err is of a command that failed and said any of the words: how a tool tells that something is not
// there.
func Said(err error, words ...string) bool {
	failed, ok := errors.AsType[*CommandError](err)
	return ok && slices.ContainsFunc(words, func(w string) bool { return strings.Contains(failed.Stderr, w) })
}

// Exec runs tools as processes of this machine.
type Exec struct {
	// Dir is where they run unless a command says otherwise; that of this process when empty.
	Dir string
	// Stderr, when it is set, gets what the tools tell people while they run.
	Stderr io.Writer
	// Trace, when it is set, is told of each command before it runs.
	Trace func(Command)
	// Hide are beginnings of the names of variables that the tools do not get from this process's environment.
	Hide []string
}

// Bounds of a process: how long it has to end after an interrupt, and how much of its last words an error keeps.
const (
	grace      = 10 * time.Second
	stderrTail = 2 << 10
)

// Look implements Runner.
func (e Exec) Look(name string) error {
	_, err := exec.LookPath(name)
	return err
}

// Run implements Runner. When ctx ends, the process is interrupted, and killed some seconds later.
func (e Exec) Run(ctx context.Context, c Command) ([]byte, error) {
	if e.Trace != nil {
		e.Trace(c)
	}
	cmd := exec.CommandContext(ctx, c.Name, c.Args...)
	cmd.Dir = c.Dir
	if cmd.Dir == "" {
		cmd.Dir = e.Dir
	}
	cmd.Env = append(slices.DeleteFunc(os.Environ(), e.hidden), c.Env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = grace
	if c.Stdin != nil {
		cmd.Stdin = bytes.NewReader(c.Stdin)
	}
	var stdout bytes.Buffer
	var last tail
	cmd.Stdout = &stdout
	if !c.Secret {
		cmd.Stderr = &last
		if e.Stderr != nil {
			cmd.Stderr = io.MultiWriter(&last, e.Stderr)
		}
	}
	if err := cmd.Run(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w (%w)", cause, err)
		}
		said := bytes.TrimSpace(last)
		if !c.Secret {
			var end tail
			_, _ = end.Write(stdout.Bytes()) // It never fails.
			said = bytes.TrimSpace(slices.Concat(said, []byte("\n"), bytes.TrimSpace(end)))
		}
		return nil, &CommandError{Command: c, Stderr: string(said), Err: err}
	}
	return stdout.Bytes(), nil
}

// hidden reports whether a variable, as NAME=value, is kept from the tools.
func (e Exec) hidden(pair string) bool {
	return slices.ContainsFunc(e.Hide, func(prefix string) bool { return strings.HasPrefix(pair, prefix) })
}

// tail keeps the end of what is written to it.
type tail []byte

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	if over := len(*t) - stderrTail; over > 0 {
		*t = slices.Delete(*t, 0, over)
	}
	return len(p), nil
}
