package scenario

import (
	"fmt"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets"
)

// Gaps says what the files promise to cover and do not: an asset that no expectation names, and a monitor or a Synthetics test
// that is never seen to alert, or never seen to keep quiet.
func Gaps(files []File) []string {
	var gaps []string
	for _, f := range files {
		for _, name := range f.Covers {
			kind, key, _ := strings.Cut(name, "/")
			about := f.about(assets.Kind(kind), key)
			gap := func(what string) { gaps = append(gaps, fmt.Sprintf("%s: %s %s", f.Name, name, what)) }
			if len(about) == 0 {
				gap("is covered by no expectation")
				continue
			}
			switch assets.Kind(kind) {
			case assets.Monitor, assets.SyntheticsTest:
				if !slices.ContainsFunc(about, Expect.alerts) {
					gap("is never expected to alert")
				}
				if !slices.ContainsFunc(about, Expect.keepsQuiet) {
					gap("is never expected to keep quiet")
				}
			}
		}
	}
	return gaps
}

// about returns the expectations that name an asset.
func (f File) about(kind assets.Kind, key string) []Expect {
	var out []Expect
	for _, c := range f.Cases {
		for _, e := range c.Expect {
			named := map[assets.Kind]string{
				assets.Monitor: e.Monitor, assets.Workflow: e.Workflow, assets.SLO: e.SLO, assets.SyntheticsTest: e.Synthetics, assets.Pipeline: e.Pipeline, assets.ScannerGroup: e.Scanner,
			}[kind]
			if named == key {
				out = append(out, e)
			}
		}
	}
	return out
}

func (e Expect) alerts() bool {
	return e.Turns == "Alert" || e.Is == "Alert" || e.Alerting != nil && *e.Alerting
}

func (e Expect) keepsQuiet() bool { return e.Never == "Alert" || e.Alerting != nil && !*e.Alerting }
