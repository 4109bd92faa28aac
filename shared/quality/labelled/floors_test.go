package labelled_test

import (
	"testing"

	"github.com/llm-reliability/control-plane/shared/quality"
	"github.com/llm-reliability/control-plane/shared/quality/labelled"
)

// TestGroundednessStaysAboveItsFloors notices a signal that got worse. The floors are some hundredths below what is measured.
func TestGroundednessStaysAboveItsFloors(t *testing.T) {
	docs, err := labelled.Documents()
	if err != nil {
		t.Fatal(err)
	}
	floors := map[labelled.Kind]float64{
		labelled.Number: 0.95, labelled.Entity: 0.82, labelled.Negation: 0.92, labelled.Elsewhere: 0.98, labelled.Addition: 0.95,
	}
	rows := labelled.Measure(labelled.Pairs(docs, 60, 7), quality.Threshold, labelled.Scorer{Name: "groundedness", Score: func(p labelled.Pair) float64 {
		return *quality.Score(quality.Answer{Document: p.Document.Text, Text: p.Answer}).Groundedness
	}})
	seen := 0
	for _, r := range rows {
		if floor, ok := floors[r.Kind]; ok {
			seen++
			if r.N < 60 || r.AUROC[0] < floor {
				t.Errorf("%s: AUROC %.3f of %d pairs, want %.2f or more of 60", r.Kind, r.AUROC[0], r.N, floor)
			}
		}
		if r.Kind == "all supported" && r.Below[0] > 0.06 {
			t.Errorf("%.1f %% of the supported answers are below the threshold", 100*r.Below[0])
		}
	}
	if seen != len(floors) {
		t.Errorf("%d kinds were measured, want %d", seen, len(floors))
	}
}
