package wire_test

import (
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/functions/wire"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

func TestJudgingIsReadFromTheEnvironment(t *testing.T) {
	for name, tt := range map[string]struct {
		sample, tier string
		judged       bool
		refused      string
	}{
		"nothing is judged by default":      {"", "", false, ""},
		"a share of the answers":            {"0.25", "quality", true, ""},
		"the cheapest tier where none is":   {"1", "", true, ""},
		"more than all":                     {"1.5", "", false, "LRCP_JUDGE_SAMPLE"},
		"no number":                         {"NaN", "", false, "LRCP_JUDGE_SAMPLE"},
		"a tier that there is not":          {"1", "best", false, "LRCP_JUDGE_TIER"},
		"a tier that there is not, unasked": {"0", "best", false, "LRCP_JUDGE_TIER"},
	} {
		t.Run(name, func(t *testing.T) {
			v := vars{
				"LRCP_STATE": "bolt:" + filepath.Join(t.TempDir(), "state"), "LRCP_API_KEYS": "web:" + strings.Repeat("0", 64), "LRCP_PROVIDER": "embedded",
				"LRCP_JUDGE_SAMPLE": tt.sample, "LRCP_JUDGE_TIER": tt.tier,
			}
			var got wire.Judging
			f, err := wire.JudgedFunction(func(_ *gateway.Gateway, j wire.Judging) (http.Handler, error) {
				got = j
				return http.NotFoundHandler(), nil
			})(t.Context(), serverless.Deps{Getenv: v.get, Logger: slog.New(slog.DiscardHandler)})
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("error %v, want one that names %s", err, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if (got.Judge != nil) != tt.judged || (got.Sample > 0) != tt.judged {
				t.Errorf("judging %+v, want one: %v", got, tt.judged)
			}
			if err := f.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
