// Command train makes the weights of package injection from labelled prompts, and measures what they are worth on prompts that
// they were not made from. It prints a Markdown table, and writes the weights where -write says.
//
//	go run ./shared/safety/injection/train -data dev.jsonl [-write shared/safety/injection/weights.bin]
//
// The data is one JSON object a line: text, label (1 is an attack) and source. It is read and never copied: what stays of it
// are weights. Folds keep together what is alike, since one attack in ten spellings would otherwise be learnt from nine and
// found in the tenth.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/safety/injection"
)

// row is one labelled text.
type row struct {
	Text   string `json:"text"`
	Label  int    `json:"label"`
	Source string `json:"source"`
	group  int
	// windows are the features of each window.
	windows [][]uint16
	// synthetic rows are trained on and never tested on.
	synthetic bool
}

// settings are what training can be told.
type settings struct {
	// hand and grams are the L2 penalties of the hand-made features and of the hashed words.
	hand, grams float64
	// synthetic is the weight of an example made by rule, beside 1 for a real one; perTemplate how many there are.
	synthetic   float64
	perTemplate int
	// most is the share of false alarms that a threshold may have in either benign part, where it is chosen.
	most  float64
	folds int
	seeds int
	iters int
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("train", flag.ContinueOnError)
	data := flags.String("data", "", "the labelled prompts, as JSON lines")
	write := flags.String("write", "", "where to write the weights, if anywhere")
	show := flags.Bool("weights", false, "print the hand-made features that weigh most")
	misses := flags.Bool("errors", false, "print how often each row was judged wrongly, by its line number")
	var set settings
	flags.Float64Var(&set.hand, "hand", 0.02, "L2 penalty of hand-made features")
	flags.Float64Var(&set.grams, "grams", 0.2, "L2 penalty of hashed words; 0 leaves them out")
	flags.Float64Var(&set.synthetic, "synthetic", 0.2, "weight of an example made by rule; 0 leaves them out")
	flags.IntVar(&set.perTemplate, "per-template", 24, "examples of each template")
	flags.Float64Var(&set.most, "most", 0.005, "share of false alarms that a threshold may have where it is chosen")
	flags.IntVar(&set.folds, "folds", 5, "folds")
	flags.IntVar(&set.seeds, "seeds", 4, "how often all is folded anew")
	flags.IntVar(&set.iters, "iterations", 60, "passes over the examples")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *data == "" {
		return errors.New("-data is required")
	}
	rows, err := read(*data)
	if err != nil {
		return err
	}
	groups(rows)
	extra := synthetic(set)

	table := measure(rows, extra, set)
	fmt.Fprint(out, table.markdown(rows, set))
	if *misses {
		table.errors(out, rows)
	}
	leaveSourceOut(out, rows, extra, set)
	model := final(rows, extra, set)
	fmt.Fprintf(out, "\nµs per prompt, mean over all rows (mean length %d bytes): model %.1f, patterns %.1f\n", meanLength(rows),
		perPrompt(rows, func(t string) { model.Score(t) }), perPrompt(rows, func(t string) { patternScore(t) }))
	if *show {
		weights(out, model)
	}
	if *write != "" {
		return os.WriteFile(*write, model.Encode(), 0o600)
	}
	return nil
}

func read(path string) ([]row, error) {
	f, err := os.Open(path) //nolint:gosec // The path is the operator's.
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var rows []row
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var r row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("read line %d of %s: %w", n, path, err)
		}
		r.windows = features(r.Text)
		rows = append(rows, r)
	}
	return rows, lines.Err()
}

func features(text string) (out [][]uint16) {
	for w := range injection.Windows(text) {
		out = append(out, injection.Features(w))
	}
	return out
}

func synthetic(set settings) (rows []row) {
	if set.synthetic == 0 {
		return nil
	}
	for label, templates := range [][]string{innocents, attacks} {
		for _, text := range expand(templates, set.perTemplate) {
			rows = append(rows, row{Text: text, Label: label, Source: "by rule", windows: features(text), synthetic: true})
		}
	}
	return rows
}

// groups puts rows that share a third of their runs of three words into one group.
func groups(rows []row) {
	shingles := make([]map[string]bool, len(rows))
	for i, r := range rows {
		words := strings.FieldsFunc(strings.ToLower(r.Text), func(c rune) bool { return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c > 127) })
		set := map[string]bool{}
		for j := 0; j+3 <= len(words); j++ {
			set[strings.Join(words[j:j+3], " ")] = true
		}
		shingles[i] = set
	}
	for i := range rows {
		rows[i].group = i
	}
	for i := range rows {
		for j := range i {
			small, large := shingles[i], shingles[j]
			if len(small) > len(large) {
				small, large = large, small
			}
			shared := 0
			for s := range small {
				if large[s] {
					shared++
				}
			}
			if len(small) > 0 && shared*3 >= len(small) && rows[i].group != rows[j].group {
				from, to := rows[i].group, rows[j].group
				for k := range rows[:i+1] {
					if rows[k].group == from {
						rows[k].group = to
					}
				}
			}
		}
	}
}

// fold gives every row a fold, groups whole, and attacks and innocents each spread evenly.
func fold(rows []row, n int, seed uint64) []int {
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // Folds are no secret.
	size := map[int]int{}
	attack := map[int]int{}
	for _, row := range rows {
		size[row.group]++
		attack[row.group] += row.Label
	}
	var order []int
	for g := range size {
		order = append(order, g)
	}
	slices.Sort(order)
	r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	slices.SortStableFunc(order, func(a, b int) int {
		if d := attack[b] - attack[a]; d != 0 {
			return d
		}
		return size[b] - size[a]
	})
	attacks, sizes := make([]int, n), make([]int, n)
	at := map[int]int{}
	for _, g := range order {
		best := 0
		for f := range n {
			if attack[g] > 0 && attacks[f] < attacks[best] || attack[g] == 0 && sizes[f] < sizes[best] {
				best = f
			}
		}
		at[g] = best
		attacks[best] += attack[g]
		sizes[best] += size[g]
	}
	out := make([]int, len(rows))
	for i, row := range rows {
		out[i] = at[row.group]
	}
	return out
}

// example is one window to learn from.
type example struct {
	features []uint16
	label    float64
	weight   float64
}

// fit learns twice: first from all windows of a text, then from the one that the first model found worst, which is what
// scoring looks at.
func fit(rows []row, set settings) injection.Model {
	var first []example
	for _, r := range rows {
		for _, w := range r.windows {
			first = append(first, example{w, float64(r.Label), weight(r, set) / float64(len(r.windows))})
		}
	}
	model := descend(first, set)
	second := make([]example, 0, len(rows))
	for _, r := range rows {
		best := slices.MaxFunc(r.windows, func(a, b []uint16) int { return compare(model.Logit(a), model.Logit(b)) })
		second = append(second, example{best, float64(r.Label), weight(r, set)})
	}
	return descend(second, set)
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// attackWeight lets the few attacks count as the many innocents do.
const attackWeight = 4

func weight(r row, set settings) float64 {
	w := 1.0
	if r.synthetic {
		return set.synthetic
	}
	if r.Label == 1 {
		w = attackWeight
	}
	return w
}

// descend is logistic regression by AdaGrad, in an order that a seed decides.
func descend(examples []example, set settings) injection.Model {
	hand := len(injection.Names())
	size := 1 + hand + injection.Buckets
	w, g := make([]float64, size), make([]float64, size)
	r := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // The order is no secret.
	order := r.Perm(len(examples))
	step := func(i int, gradient float64) {
		g[i] += gradient * gradient
		w[i] -= 0.3 * gradient / (math.Sqrt(g[i]) + 1e-3)
	}
	for range set.iters {
		r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, i := range order {
			e := &examples[i]
			sum := w[0]
			for _, f := range e.features {
				if int(f) < hand || set.grams > 0 {
					sum += w[1+int(f)]
				}
			}
			d := e.weight * (1/(1+math.Exp(-sum)) - e.label)
			step(0, d)
			for _, f := range e.features {
				penalty := set.hand
				if int(f) >= hand {
					if penalty = set.grams; penalty == 0 {
						continue
					}
				}
				step(1+int(f), d+penalty*w[1+int(f)]*e.weight)
			}
		}
	}
	model := make(injection.Model, size)
	for i := range w {
		model[i] = float32(w[i])
	}
	return model
}

func logit(m injection.Model, r row) float64 {
	worst := math.Inf(-1)
	for _, w := range r.windows {
		worst = max(worst, m.Logit(w))
	}
	return worst
}

func pick(rows []row, keep func(i int) bool) (out []row) {
	for i, r := range rows {
		if keep(i) {
			out = append(out, r)
		}
	}
	return out
}

// outOfFold scores every row by a model that has not seen its fold.
func outOfFold(rows, extra []row, set settings, seed uint64) []float64 {
	at := fold(rows, set.folds, seed)
	scores := make([]float64, len(rows))
	for f := range set.folds {
		m := fit(append(pick(rows, func(i int) bool { return at[i] != f }), extra...), set)
		for i := range rows {
			if at[i] == f {
				scores[i] = logit(m, rows[i])
			}
		}
	}
	return scores
}

// part says which of the benign parts that must stay quiet a source belongs to; "" for others.
func part(source string) string {
	switch {
	case strings.Contains(source, "NotInject"):
		return "NotInject"
	case strings.Contains(strings.ToLower(source), "wildguard"):
		return "WildGuard"
	}
	return ""
}

// threshold is the least score over which each benign part has at most the share of false alarms.
func threshold(rows []row, scores []float64, most float64) float64 {
	benign := map[string][]float64{}
	for i, r := range rows {
		if p := part(r.Source); p != "" && r.Label == 0 {
			benign[p] = append(benign[p], scores[i])
		}
	}
	t := math.Inf(-1)
	for _, s := range benign {
		slices.Sort(s)
		allowed := int(most * float64(len(s)))
		t = max(t, s[len(s)-1-allowed]+1e-6)
	}
	return t
}

// final learns from all, and moves the intercept so that the threshold, which folds decide, is a score of a half.
func final(rows, extra []row, set settings) injection.Model {
	var t float64
	for seed := range set.seeds {
		t += threshold(rows, outOfFold(rows, extra, set, uint64(100+seed)), set.most) / float64(set.seeds) //nolint:gosec // Few.
	}
	model := fit(append(slices.Clone(rows), extra...), set)
	model[0] -= float32(t)
	return model
}

// result is what one detector did in one fold.
type result struct{ precision, recall, auroc, notInject, wildGuard float64 }

type table struct {
	model, patterns []result
	// alarms counts, for each row, in how many foldings it was taken for an attack; of patterns, in 0 or all.
	alarms, patternAlarms []int
	seeds                 int
}

func measure(rows, extra []row, set settings) *table {
	t := &table{alarms: make([]int, len(rows)), patternAlarms: make([]int, len(rows)), seeds: set.seeds}
	old := make([]float64, len(rows))
	for i, r := range rows {
		if old[i] = patternScore(r.Text) - patternSuspected; old[i] >= 0 {
			t.patternAlarms[i] = set.seeds
		}
	}
	for seed := range set.seeds {
		at := fold(rows, set.folds, uint64(seed)) //nolint:gosec // Few.
		for f := range set.folds {
			train := pick(rows, func(i int) bool { return at[i] != f })
			m := fit(append(slices.Clone(train), extra...), set)
			// The threshold is chosen inside the training part.
			limit := threshold(train, outOfFold(train, extra, set, uint64(1000+seed)), set.most) //nolint:gosec // Few.
			var test []row
			var scores, olds []float64
			for i, r := range rows {
				if at[i] != f {
					continue
				}
				s := logit(m, r) - limit
				if s >= 0 {
					t.alarms[i]++
				}
				test, scores, olds = append(test, r), append(scores, s), append(olds, old[i])
			}
			t.model, t.patterns = append(t.model, judge(test, scores)), append(t.patterns, judge(test, olds))
		}
	}
	return t
}

// judge compares scores, of which 0 and more are alarms, with labels.
func judge(rows []row, scores []float64) result {
	var hits, alarms, attacks, above, pairs float64
	wrong, of := map[string]float64{}, map[string]float64{}
	for i, r := range rows {
		if scores[i] >= 0 {
			alarms++
		}
		if r.Label == 0 {
			of[part(r.Source)]++
			if scores[i] >= 0 {
				wrong[part(r.Source)]++
			}
			continue
		}
		attacks++
		if scores[i] >= 0 {
			hits++
		}
		for j, other := range rows {
			if other.Label == 0 {
				pairs++
				if scores[i] > scores[j] {
					above++
				} else if scores[i] == scores[j] {
					above += 0.5
				}
			}
		}
	}
	return result{
		precision: hits / max(alarms, 1), recall: hits / max(attacks, 1), auroc: above / max(pairs, 1),
		notInject: wrong["NotInject"] / max(of["NotInject"], 1), wildGuard: wrong["WildGuard"] / max(of["WildGuard"], 1),
	}
}

func (t *table) markdown(rows []row, set settings) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d prompts, %d attacks; %d folds, folded %d times; mean ± standard deviation over the folds, thresholds chosen inside the training part\n\n",
		len(rows), len(pick(rows, func(i int) bool { return rows[i].Label == 1 })), set.folds, set.seeds)
	b.WriteString("| Detector | Precision | Recall | AUROC | False alarms, NotInject | False alarms, WildGuard |\n|---|---|---|---|---|---|\n")
	for _, d := range []struct {
		name    string
		results []result
	}{{"model", t.model}, {"patterns", t.patterns}} {
		fmt.Fprintf(&b, "| %s", d.name)
		for _, of := range []func(result) float64{
			func(r result) float64 { return r.precision }, func(r result) float64 { return r.recall }, func(r result) float64 { return r.auroc },
			func(r result) float64 { return r.notInject }, func(r result) float64 { return r.wildGuard },
		} {
			mean, deviation := moments(d.results, of)
			fmt.Fprintf(&b, " | %.3f ± %.3f", mean, deviation)
		}
		b.WriteString(" |\n")
	}
	b.WriteString("\n| Source | Label | Prompts | Alarms, model | Alarms, patterns |\n|---|---|---|---|---|\n")
	type key struct {
		source string
		label  int
	}
	count, model, patterns := map[key]int{}, map[key]int{}, map[key]int{}
	for i, r := range rows {
		k := key{r.Source, r.Label}
		count[k]++
		model[k] += t.alarms[i]
		patterns[k] += t.patternAlarms[i]
	}
	var keys []key
	for k := range count {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		if a.label != b.label {
			return b.label - a.label
		}
		return strings.Compare(a.source, b.source)
	})
	for _, k := range keys {
		all := float64(count[k] * t.seeds)
		fmt.Fprintf(&b, "| %s | %d | %d | %.1f %% | %.1f %% |\n", k.source, k.label, count[k], 100*float64(model[k])/all, 100*float64(patterns[k])/all)
	}
	return b.String()
}

func moments(results []result, of func(result) float64) (mean, deviation float64) {
	for _, r := range results {
		mean += of(r) / float64(len(results))
	}
	for _, r := range results {
		deviation += (of(r) - mean) * (of(r) - mean) / float64(len(results))
	}
	return mean, math.Sqrt(deviation)
}

// errors names the rows that were judged wrongly by their line, never by their text.
func (t *table) errors(out io.Writer, rows []row) {
	for i, r := range rows {
		if wrong := t.alarms[i]; r.Label == 0 && wrong > 0 || r.Label == 1 && wrong < t.seeds {
			fmt.Fprintf(out, "line %d: %s, label %d, taken for an attack in %d of %d foldings\n", i+1, r.Source, r.Label, wrong, t.seeds)
		}
	}
}

// leaveSourceOut learns without a source of attacks, and looks for its attacks.
func leaveSourceOut(out io.Writer, rows, extra []row, set settings) {
	fmt.Fprint(out, "\n| Source left out | Attacks | Recall, model | Recall, patterns | AUROC, model | AUROC, patterns |\n|---|---|---|---|---|---|\n")
	var sources []string
	for _, r := range rows {
		if r.Label == 1 && !slices.Contains(sources, r.Source) {
			sources = append(sources, r.Source)
		}
	}
	slices.Sort(sources)
	for _, source := range sources {
		// Half of the innocents are kept for the test, so that the ranking is measured on unseen texts too.
		at := fold(rows, 2, 5)
		without := map[int]bool{}
		for _, r := range rows {
			if r.Source == source && r.Label == 1 {
				without[r.group] = true
			}
		}
		train := pick(rows, func(i int) bool {
			return rows[i].Label == 1 && !without[rows[i].group] || rows[i].Label == 0 && at[i] == 0
		})
		test := pick(rows, func(i int) bool {
			return rows[i].Label == 1 && rows[i].Source == source || rows[i].Label == 0 && at[i] == 1
		})
		m := fit(append(slices.Clone(train), extra...), set)
		limit := threshold(train, outOfFold(train, extra, set, 3), set.most)
		var scores, olds []float64
		for _, r := range test {
			scores, olds = append(scores, logit(m, r)-limit), append(olds, patternScore(r.Text)-patternSuspected)
		}
		a, b := judge(test, scores), judge(test, olds)
		n := len(pick(test, func(i int) bool { return test[i].Label == 1 }))
		fmt.Fprintf(out, "| %s | %d | %.2f | %.2f | %.3f | %.3f |\n", source, n, a.recall, b.recall, a.auroc, b.auroc)
	}
}

func meanLength(rows []row) int {
	n := 0
	for _, r := range rows {
		n += len(r.Text)
	}
	return n / max(len(rows), 1)
}

func perPrompt(rows []row, score func(string)) float64 {
	start := time.Now()
	const times = 3
	for range times {
		for _, r := range rows {
			score(r.Text)
		}
	}
	return float64(time.Since(start).Microseconds()) / float64(times*max(len(rows), 1))
}

func weights(out io.Writer, m injection.Model) {
	names := injection.Names()
	order := make([]int, len(names))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return compare(float64(m[1+b]), float64(m[1+a])) })
	for _, i := range order {
		if w := m[1+i]; w > 0.05 || w < -0.05 {
			fmt.Fprintf(out, "%+.2f %s\n", w, names[i])
		}
	}
}
