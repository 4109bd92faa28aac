package buildtags_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/routes"
	"github.com/llm-reliability/control-plane/functions/wire/models"
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

// The route is that of the functions, whose packages would bring all SDKs into this one.
func TestDefaultRoute(t *testing.T) {
	if want := strings.Join(models.Deployed(), ","); buildtags.DefaultRoute != want {
		t.Errorf("the default route is %s, want %s", buildtags.DefaultRoute, want)
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
