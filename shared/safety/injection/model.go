// Package injection scores how much a text reads like an attempt to take over a language model: to override its instructions,
// to free it of its limits, to make it tell what it was told, or to smuggle orders into data. The score is a logistic
// regression over features that are made by hand and over hashed words and word pairs; the command in train makes its weights.
//
// It is one signal, not a guard: who knows the features can write around them.
package injection

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"unicode/utf8"
)

// Suspected is the score from which a text counts as an attempt. Training moves the intercept so that it is this.
const Suspected = 0.5

// A text that is longer than window bytes is read in windows which overlap, and scored as its worst: all of it is read, so that
// nothing can be hidden in the middle, and no length makes an innocent text guilty.
const (
	window  = 1000
	overlap = 300
)

//go:embed weights.bin
var weightsFile []byte

// Model are weights: the intercept, then one for each feature.
type Model []float32

var embedded = sync.OnceValue(func() Model {
	m, err := Decode(weightsFile)
	if err != nil {
		panic("injection: " + err.Error()) // The file is built in, and a test reads it.
	}
	return m
})

// Decode reads weights as Encode writes them: a scale, the intercept, and all others as signed bytes times the scale.
func Decode(file []byte) (Model, error) {
	m := make(Model, 1+handmade()+Buckets)
	if want := 8 + handmade() + Buckets; len(file) != want {
		return nil, fmt.Errorf("weights of %d bytes, want %d: train them anew", len(file), want)
	}
	scale := math.Float32frombits(binary.LittleEndian.Uint32(file))
	m[0] = math.Float32frombits(binary.LittleEndian.Uint32(file[4:]))
	for i, b := range file[8:] {
		m[1+i] = float32(int8(b)) * scale //nolint:gosec // The byte is signed.
	}
	return m, nil
}

// Encode is the opposite of Decode; it rounds to 255 steps.
func (m Model) Encode() []byte {
	var most float32
	for _, w := range m[1:] {
		most = max(most, w, -w)
	}
	scale := max(most, 1e-6) / 127
	out := binary.LittleEndian.AppendUint32(nil, math.Float32bits(scale))
	out = binary.LittleEndian.AppendUint32(out, math.Float32bits(m[0]))
	for _, w := range m[1:] {
		out = append(out, byte(int8(math.Round(float64(w/scale)))))
	}
	return out
}

// Score returns how much a text reads like an injection, 0 to 1.
func Score(text string) float64 { return embedded().Score(text) }

// Score is the worst of a text's windows.
func (m Model) Score(text string) float64 {
	worst := math.Inf(-1)
	for w := range Windows(text) {
		worst = max(worst, m.Logit(Features(w)))
	}
	return 1 / (1 + math.Exp(-worst))
}

// Logit is the sum of the weights of features.
func (m Model) Logit(features []uint16) float64 {
	sum := float64(m[0])
	for _, f := range features {
		sum += float64(m[1+int(f)])
	}
	return sum
}

// Windows yields the pieces of a text that are scored, each by itself.
func Windows(text string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for len(text) > window {
			end := window
			for end > window-utf8.UTFMax && !utf8.RuneStart(text[end]) {
				end--
			}
			if !yield(text[:end]) {
				return
			}
			next := end - overlap
			for next < end && !utf8.RuneStart(text[next]) {
				next++
			}
			text = text[next:]
		}
		yield(text)
	}
}
