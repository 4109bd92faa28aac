package buildtags_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/routes"
	"github.com/llm-reliability/control-plane/infra/buildtags"
)

func TestTags(t *testing.T) {
	tests := map[string]struct {
		tags     func(function, route string) []string
		function string
		route    string
		want     string
	}{
		"Lambda with no route":             {buildtags.Lambda, "qa", "", "lambda.norpc without_firestore without_framework without_openai"},
		"Lambda with Gemini":               {buildtags.Lambda, "completion", "vertexai, genai", "lambda.norpc without_firestore without_framework without_openai"},
		"Lambda with one SDK of Gemini's":  {buildtags.Lambda, "diagnosis", "genai", "lambda.norpc without_firestore without_framework without_openai"},
		"Lambda with a server of OpenAI's": {buildtags.Lambda, "qa", "openai", "lambda.norpc without_firestore without_framework without_gemini"},
		"Lambda with everything":           {buildtags.Lambda, "qa", "vertexai,openai", "lambda.norpc without_firestore without_framework"},
		"Cloud Run with no route":          {buildtags.CloudRun, "qa", " ", "lambda.norpc without_dynamodb without_lambda without_openai"},
		"Cloud Run with no model outside":  {buildtags.CloudRun, "qa", "embedded", "lambda.norpc without_dynamodb without_lambda without_gemini without_openai"},
		"a function that calls no model":   {buildtags.CloudRun, "probe", "openai", "lambda.norpc without_dynamodb without_lambda"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, strings.Join(tt.tags(tt.function, tt.route), " ")); diff != "" {
				t.Errorf("tags, want - got +:\n%s", diff)
			}
		})
	}
}

// Which functions call models is known to the compiler.
func TestFunctionsThatCallModels(t *testing.T) {
	const module = "github.com/llm-reliability/control-plane/"
	for _, function := range routes.Functions() {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", module+"functions/"+function+"/cmd").Output()
		if err != nil {
			t.Fatal(err)
		}
		calls := strings.Contains(string(out), module+"functions/wire/models\n")
		if got := slices.Contains(buildtags.Lambda(function, "openai"), "without_gemini"); got != calls {
			t.Errorf("%s is taken for one that calls models: %v, want %v", function, got, calls)
		}
	}
}

// What was left out is refused by name, together with all else that is wrong with the configuration.
func TestWhatIsLeftOutIsRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		tags []string
		env  []string
		want []string
	}{
		"on Lambda": {
			buildtags.Lambda("completion", ""),
			[]string{"LRCP_PROVIDER=openai", "LRCP_STATE=firestore:p/d", "AWS_LAMBDA_RUNTIME_API=127.0.0.1:1"},
			[]string{"LRCP_PROVIDER names openai, which this binary was built without (build tag without_openai)", "LRCP_STATE names firestore, which this binary was built without (build tag without_firestore)"},
		},
		"for Lambda, and elsewhere": {
			buildtags.Lambda("completion", ""),
			[]string{"LRCP_PROVIDER=embedded", "LRCP_STATE=bolt:" + filepath.Join(t.TempDir(), "state")},
			[]string{"this binary was built for AWS Lambda, and serves no port (build tag without_framework)"},
		},
		"on Cloud Run": {
			buildtags.CloudRun("completion", "embedded"),
			[]string{"LRCP_PROVIDER=vertexai,genai,openai", "LRCP_STATE=dynamodb:t"},
			[]string{"LRCP_PROVIDER names vertexai, which", "LRCP_PROVIDER names genai, which", "LRCP_PROVIDER names openai, which", "LRCP_STATE names dynamodb, which this binary was built without (build tag without_dynamodb)"},
		},
		"for Cloud Run, with a secret of AWS": {
			buildtags.CloudRun("completion", "embedded"),
			[]string{"LRCP_PROVIDER=embedded", "LRCP_STATE=bolt:" + filepath.Join(t.TempDir(), "state"), "LRCP_API_KEYS=", "LRCP_API_KEYS_SECRET_ARN=arn:x"},
			[]string{"a variable ends in _SECRET_ARN, and this binary was built without AWS Secrets Manager (build tag without_lambda)"},
		},
		"for Cloud Run, on Lambda": {
			buildtags.CloudRun("completion", "embedded"),
			[]string{"LRCP_PROVIDER=embedded", "LRCP_STATE=bolt:" + filepath.Join(t.TempDir(), "state"), "AWS_LAMBDA_RUNTIME_API=127.0.0.1:1"},
			[]string{"this binary was built for elsewhere than AWS Lambda (build tag without_lambda)"},
		},
	}
	built := map[string]string{}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tags := strings.Join(tt.tags, ",")
			if built[tags] == "" {
				built[tags] = build(t, tags)
			}
			cmd := exec.CommandContext(t.Context(), built[tags])
			cmd.Env = append([]string{"LRCP_API_KEYS=a:" + strings.Repeat("0", 64), "DD_LLMOBS_ENABLED=false", "DD_TRACE_ENABLED=false"}, tt.env...)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			var exit *exec.ExitError
			if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("it ended with %v, want status 1", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, &out)
				}
			}
		})
	}
}

// binaries outlive the subtest that builds them.
var binaries string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "buildtags-")
		if err != nil {
			panic(err)
		}
		binaries = dir
		defer os.RemoveAll(dir)
		return m.Run()
	}())
}

func build(t *testing.T, tags string) string {
	t.Helper()
	path := filepath.Join(binaries, strings.ReplaceAll(tags, ",", "-"))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", tags, "-trimpath", "-ldflags=-s -w", "-o", path, "../../functions/completion/cmd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}
