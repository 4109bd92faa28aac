package runtimetest_test

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/infra/buildtags"
)

// What was left out is refused by name, together with all else that is wrong with the configuration.
func TestWhatIsLeftOutIsRefused(t *testing.T) {
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
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), binary(t, completion, tt.tags...))
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
