package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/infra/local"
)

// TestLinesWorkWhenPasted runs each command that `lrcp up` prints, in a shell, against the stack that printed it.
func TestLinesWorkWhenPasted(t *testing.T) {
	stack, err := local.Start(t.Context(), local.Options{Listen: "127.0.0.1:0", DatadogListen: "127.0.0.1:0", StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stack.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	ran := 0
	for line := range strings.SplitSeq(welcome(stack, "", true), "\n") {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "curl ") {
			continue
		}
		ran++
		out, err := exec.CommandContext(t.Context(), "bash", "-c", line+" --fail-with-body --max-time 20").CombinedOutput()
		if err != nil {
			t.Errorf("%s\n%v: %s", line, err, out)
		}
	}
	if ran < 6 {
		t.Errorf("%d lines to paste, want at least 6", ran)
	}
}

// TestTheFirstAddressIsThePage looks at what `lrcp up` prints, with a page and without.
func TestTheFirstAddressIsThePage(t *testing.T) {
	for built, want := range map[bool]string{true: "open it", false: "not built"} {
		text := welcome(&local.Stack{URL: "http://f", DatadogURL: "http://d"}, "http://f/#key=s", built)
		_, addresses, _ := strings.Cut(text, "http")
		first, rest, _ := strings.Cut(addresses, "\n")
		if !strings.HasPrefix(first, "://f/#key=s ") || !strings.Contains(first, want) || !strings.Contains(rest, "http://d") {
			t.Errorf("the first address is %q, want the page, and that it is %s", first, want)
		}
	}
}

// TestDemoOverSockets plays one failure through the real SDKs and sockets, as `lrcp demo --json` does.
func TestDemoOverSockets(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"demo", "--json", "--scenario", "quality", "--speed", "100"}, &out, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var result struct {
		OK       bool `json:"ok"`
		Outcomes []struct {
			Scenario         string
			Closed, Reverted bool
		}
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &result); err != nil {
		t.Fatal(err)
	}
	if !result.OK || len(result.Outcomes) != 1 || result.Outcomes[0].Scenario != "quality" {
		t.Errorf("result %s", lines[len(lines)-1])
	}
}

func TestUnknownScenarioIsRefused(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"demo", "--scenario", "flood"}, &out, &out); err == nil || !strings.Contains(err.Error(), `no scenario "flood"`) {
		t.Errorf("error %v, want one that names the scenario", err)
	}
}
