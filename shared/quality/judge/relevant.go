package judge

import (
	"cmp"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/shared/prose"
	"github.com/llm-reliability/control-plane/shared/quality"
)

// relevant is the document, or the sentences of it that the answer is most likely to stand on where it is too long to be sent: those
// that share most terms with the answer, in the document's order. A claim is not called unsupported because its sentence was cut off.
func relevant(a quality.Answer) string {
	if len(a.Document) <= maxDocument {
		return a.Document
	}
	sought := map[string]bool{}
	for _, t := range prose.Terms(a.Text[:min(len(a.Text), maxAnswer)]) {
		sought[t] = true
	}
	sentences := prose.Sentences(a.Document)
	shared := make([]int, len(sentences))
	order := make([]int, len(sentences))
	for i, s := range sentences {
		order[i] = i
		seen := map[string]bool{}
		for _, t := range prose.Terms(s) {
			if sought[t] && !seen[t] {
				seen[t] = true
				shared[i]++
			}
		}
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(shared[j], shared[i]) })
	left := maxDocument
	var kept []int
	for _, i := range order {
		if need := len(sentences[i]) + 1; need <= left {
			left -= need
			kept = append(kept, i)
		}
	}
	slices.Sort(kept)
	var b strings.Builder
	for _, i := range kept {
		b.WriteString(sentences[i])
		b.WriteByte('\n')
	}
	return b.String()
}
