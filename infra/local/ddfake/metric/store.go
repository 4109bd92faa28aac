// Package metric keeps distributions in memory and answers Datadog's metric queries over them. It is the metric part of
// the local stand-in for Datadog. It is not a database: nothing is stored on disk, and there are no gauges or rates,
// because the product sends every metric as a distribution.
//
// Time is always a value given by the caller. The differences from Datadog:
//
//	here                                               at Datadog
//	-----------------------------------------------    ------------------------------------------------------------
//	10 s buckets; 60 s after Options.Fine              10 s flush of the agent; full resolution for a day
//	DDSketch, relative accuracy 1/128                  the agent's own sketch, of the same accuracy
//	percentiles of every distribution                  only where the tag configuration asks for them
//	points without a tag of "by" are left out          they form a group N/A
//	no interpolation: a missing point stays missing    gauges are interpolated in arithmetic between queries
//	a group that is absent beside default_zero is 0    the same for queries joined by arithmetic
//	as_rate and functions other than default_zero      evaluated
//	are refused by Parse
package metric

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/mapping"
	"github.com/DataDog/sketches-go/ddsketch/store"
)

const (
	fineSeconds   = 10
	coarseSeconds = 60
	// accuracy is the relative error of a percentile, as in the agent's sketches.
	accuracy = 1.0 / 128
	// fewValues is how many values a bucket keeps as they are. Most buckets stay below it, and merging many sketches of
	// three values each is what an evaluation would spend nearly all its time on.
	fewValues = 16
)

// Options bounds a Store. The zero value of each field means its default.
type Options struct {
	// Fine is how long points keep buckets of 10 s; older ones are merged into 60 s. Default 2 h.
	Fine time.Duration
	// Retention is how long points are kept at all. Default 43 days: six weeks is what an anomaly of weekly season may read.
	Retention time.Duration
	// MaxContexts bounds the distinct pairs of metric and tag set. Default 5000.
	MaxContexts int
	// MaxBuckets bounds the buckets of all contexts together; above it the oldest hour goes. Default 500,000.
	MaxBuckets int
}

// Stats counts what a Store holds and what it had to drop.
type Stats struct {
	Contexts, Buckets int
	// Points is how many were added since the start.
	Points int
	// DroppedInvalid were NaN, infinite, or without a name; DroppedLate were older than the retention;
	// DroppedContexts would have exceeded MaxContexts.
	DroppedInvalid, DroppedLate, DroppedContexts int
	// ForgottenBuckets left by age or by MaxBuckets.
	ForgottenBuckets int
}

// Store holds distributions. It is safe for concurrent use.
type Store struct {
	opts    Options
	mapping mapping.IndexMapping

	mu      sync.Mutex
	metrics map[string]map[string]*series
	newest  int64 // start of the newest bucket, in Unix seconds
	swept   int64 // value of newest when old buckets were last merged and forgotten
	stats   Stats
}

// series is one metric with one tag set.
type series struct {
	tags    []string
	buckets []bucket // ordered by start
}

// bucket holds the points of one interval. Sum, count and extremes are exact. Percentiles come from the values while they
// are few, then from the sketch; only one of the two is set.
type bucket struct {
	start, width         int64 // Unix seconds, seconds
	count, sum, min, max float64
	values               []float64
	sketch               *ddsketch.DDSketch
}

// New returns an empty Store, or an error that names the option that makes no sense.
func New(o Options) (*Store, error) {
	if o.Fine == 0 {
		o.Fine = 2 * time.Hour
	}
	if o.Retention == 0 {
		o.Retention = 43 * 24 * time.Hour
	}
	if o.MaxContexts == 0 {
		o.MaxContexts = 5000
	}
	if o.MaxBuckets == 0 {
		o.MaxBuckets = 500_000
	}
	if o.Fine < time.Minute || o.Retention < o.Fine {
		return nil, fmt.Errorf("metric store: want 1m <= fine <= retention, have %v and %v", o.Fine, o.Retention)
	}
	if o.MaxContexts < 0 || o.MaxBuckets < 0 {
		return nil, fmt.Errorf("metric store: negative bound: %d contexts, %d buckets", o.MaxContexts, o.MaxBuckets)
	}
	m, err := mapping.NewLogarithmicMapping(accuracy)
	if err != nil {
		return nil, fmt.Errorf("metric store: make sketch mapping: %w", err)
	}
	return &Store{opts: o, mapping: m, metrics: map[string]map[string]*series{}}, nil
}

// Add records one value of a distribution at a time. Tags are "key:value" in any order; as Datadog does, they are taken in
// lower case and without repetition. What cannot be kept is counted in Stats, never reported as an error: a metric must
// not fail whoever sends it.
func (s *Store) Add(name string, tags []string, value float64, at time.Time) {
	tags, key := normalize(tags)
	start := floor(at.Unix(), fineSeconds)

	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case name == "" || math.IsNaN(value) || math.IsInf(value, 0) || math.Abs(value) > s.mapping.MaxIndexableValue():
		s.stats.DroppedInvalid++
		return
	case s.stats.Points > 0 && start < s.newest-seconds(s.opts.Retention):
		s.stats.DroppedLate++
		return
	}
	sr := s.metrics[name][key]
	if sr == nil {
		if s.stats.Contexts >= s.opts.MaxContexts {
			s.stats.DroppedContexts++
			return
		}
		if s.metrics[name] == nil {
			s.metrics[name] = map[string]*series{}
		}
		sr = &series{tags: tags}
		s.metrics[name][key] = sr
		s.stats.Contexts++
	}
	b := s.bucketFor(sr, start)
	s.put(b, value)
	if s.stats.Points++; s.stats.Points == 1 {
		s.swept = start
	}
	s.newest = max(s.newest, start)
	if s.newest-s.swept >= 3600 || s.stats.Buckets > s.opts.MaxBuckets {
		s.sweep()
	}
}

// Stats returns the counts as they are now.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// bucketFor finds the bucket that holds start, or makes one in its place. Nearly always that is the last one.
func (s *Store) bucketFor(sr *series, start int64) *bucket {
	i := len(sr.buckets)
	for i > 0 && sr.buckets[i-1].start > start {
		i--
	}
	if i > 0 {
		if b := &sr.buckets[i-1]; start < b.start+b.width {
			return b
		}
	}
	sr.buckets = slices.Insert(sr.buckets, i, bucket{
		start: start, width: fineSeconds, min: math.Inf(1), max: math.Inf(-1),
	})
	s.stats.Buckets++
	return &sr.buckets[i]
}

// sweep merges buckets older than Fine into minutes and forgets those older than the retention. While there are too many
// it forgets the oldest hour.
func (s *Store) sweep() {
	s.swept = s.newest
	horizon := s.newest - seconds(s.opts.Retention)
	oldest := s.compact(horizon)
	for s.stats.Buckets > s.opts.MaxBuckets && oldest < s.newest {
		oldest = s.compact(oldest + 3600)
	}
}

// compact does one pass of sweep and returns the start of the oldest bucket that is left.
func (s *Store) compact(horizon int64) (oldest int64) {
	oldest = s.newest
	fine := floor(s.newest-seconds(s.opts.Fine), coarseSeconds)
	for name, byTags := range s.metrics {
		for key, sr := range byTags {
			before := len(sr.buckets)
			kept := sr.buckets[:0]
			for _, b := range sr.buckets {
				minute := floor(b.start, coarseSeconds)
				switch {
				case b.start < horizon:
					s.stats.ForgottenBuckets++
				case b.start < fine && len(kept) > 0 && kept[len(kept)-1].start == minute:
					s.merge(&kept[len(kept)-1], b)
				case b.start < fine:
					b.start, b.width = minute, coarseSeconds
					kept = append(kept, b)
				default:
					kept = append(kept, b)
				}
			}
			clear(sr.buckets[len(kept):])
			sr.buckets = kept
			s.stats.Buckets -= before - len(kept)
			if len(kept) == 0 {
				delete(byTags, key)
				s.stats.Contexts--
				continue
			}
			oldest = min(oldest, kept[0].start)
		}
		if len(byTags) == 0 {
			delete(s.metrics, name)
		}
	}
	return oldest
}

// put adds a value to a bucket.
func (s *Store) put(b *bucket, v float64) {
	b.count++
	b.sum += v
	b.min, b.max = min(b.min, v), max(b.max, v)
	if b.sketch == nil && len(b.values) < fewValues {
		b.values = append(b.values, v)
		return
	}
	if b.sketch == nil {
		b.sketch, b.values = s.sketch(b), nil
	}
	addTo(b.sketch, v)
}

// merge adds a bucket to another.
func (s *Store) merge(b *bucket, o bucket) {
	b.count += o.count
	b.sum += o.sum
	b.min, b.max = min(b.min, o.min), max(b.max, o.max)
	if b.sketch == nil && o.sketch == nil && len(b.values)+len(o.values) <= fewValues {
		b.values = append(b.values, o.values...)
		return
	}
	b.sketch, b.values = s.sketch(b, &o), nil
}

// sketch returns a new sketch of what the buckets hold.
func (s *Store) sketch(of ...*bucket) *ddsketch.DDSketch {
	out := ddsketch.NewDDSketch(s.mapping, store.NewBufferedPaginatedStore(), store.NewBufferedPaginatedStore())
	for _, b := range of {
		for _, v := range b.values {
			addTo(out, v)
		}
		if b.sketch != nil {
			// All sketches of a store share one mapping, the only thing that MergeWith checks.
			_ = out.MergeWith(b.sketch)
		}
	}
	return out
}

func addTo(sketch *ddsketch.DDSketch, v float64) {
	// Add refuses only values outside the mapping, and Store.Add has excluded those.
	_ = sketch.Add(v)
}

// quantile returns the value at q of all that the buckets hold, or NaN when that is nothing.
func (s *Store) quantile(of []*bucket, q float64) float64 {
	var values []float64
	for _, b := range of {
		if b.sketch != nil {
			v, err := s.sketch(of...).GetValueAtQuantile(q)
			if err != nil { // the sketch is empty
				return math.NaN()
			}
			return v
		}
		values = append(values, b.values...)
	}
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return values[int(q*float64(len(values)-1))]
}

// normalize returns the tags sorted, in lower case and distinct, and one string that identifies them.
func normalize(tags []string) ([]string, string) {
	out := make([]string, 0, len(tags))
	for _, t := range tags {
		if t != "" {
			out = append(out, strings.ToLower(t))
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out, strings.Join(out, ",")
}

func floor(t, step int64) int64 {
	r := t % step
	if r < 0 {
		r += step
	}
	return t - r
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
