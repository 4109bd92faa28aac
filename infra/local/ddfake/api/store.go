package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// object is one stored object. A stored object never changes: an update puts another in its place.
type object struct {
	kind, id string
	// body is the object in the shape of the create call: what was sent last, with what updates changed.
	body obj
	// made is what the server added once and keeps, such as the ids of layers and steps.
	made             obj
	created, changed time.Time
	author           User
	// readOnly objects are Datadog's own: nobody may change them.
	readOnly bool
	// derived objects come with another one, such as the monitor of a Synthetics test: the sink never hears of them.
	derived bool
	// deleted objects are gone but for lists that ask for deleted ones.
	deleted time.Time
}

// store holds the objects, by kind in order of creation.
type store struct {
	mu     sync.RWMutex
	byKind map[string][]*object
}

// all returns the objects of a kind that are not deleted, oldest first.
func (s *store) all(kind string) []*object {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []*object
	for _, o := range s.byKind[kind] {
		if o.deleted.IsZero() {
			out = append(out, o)
		}
	}
	return out
}

// gone returns the deleted objects of a kind.
func (s *store) gone(kind string) []*object {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []*object
	for _, o := range s.byKind[kind] {
		if !o.deleted.IsZero() {
			out = append(out, o)
		}
	}
	return out
}

// get returns an object that is not deleted, or nil.
func (s *store) get(kind, id string) *object {
	for _, o := range s.all(kind) {
		if o.id == id {
			return o
		}
	}
	return nil
}

// find returns the first object of a kind that is as asked, or nil.
func (s *store) find(kind string, is func(*object) bool) *object {
	all := s.all(kind)
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i]
	}
	return nil
}

// put adds an object, or puts it in the place of the one of the same id.
func (s *store) put(o *object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.byKind[o.kind]
	i := slices.IndexFunc(all, func(p *object) bool { return p.id == o.id && p.deleted.IsZero() })
	if i < 0 {
		s.byKind[o.kind] = append(slices.Clip(all), o)
		return
	}
	all = slices.Clone(all)
	all[i] = o
	s.byKind[o.kind] = all
}

// remove marks an object as deleted.
func (s *store) remove(kind, id string, when time.Time) {
	o := s.get(kind, id)
	if o == nil {
		return
	}
	dead := *o
	dead.deleted = when
	s.put(&dead)
}

// reorder puts the objects of a kind into the order of ids, which names each once.
func (s *store) reorder(kind string, ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Clone(s.byKind[kind])
	slices.SortStableFunc(all, func(a, b *object) int { return slices.Index(ids, a.id) - slices.Index(ids, b.id) })
	s.byKind[kind] = all
}

// commit tells the sink of an object, and stores it when the sink has no objection.
func (a *API) commit(o *object) error {
	if a.opts.Sink != nil && !o.derived {
		raw, err := json.Marshal(o.body)
		if err != nil {
			return fmt.Errorf("encode %s %s: %w", o.kind, o.id, err)
		}
		if err := a.opts.Sink.Put(o.kind, o.id, raw); err != nil {
			return bad("%s", err)
		}
	}
	a.store.put(o)
	return nil
}

// drop tells the sink that an object goes, and deletes it.
func (a *API) drop(o *object) error {
	if a.opts.Sink != nil && !o.derived {
		if err := a.opts.Sink.Delete(o.kind, o.id); err != nil {
			return bad("%s", err)
		}
	}
	a.store.remove(o.kind, o.id, a.opts.Now())
	return nil
}

// uuid makes an identifier of version 2 of the API.
func (a *API) uuid() string {
	hi, lo := a.random()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", hi>>32, hi>>16&0xffff, hi&0xfff, lo>>48&0x3fff|0x8000, lo&0xffffffffffff)
}

// hex32 makes an identifier as SLOs have one.
func (a *API) hex32() string { return strings.ReplaceAll(a.uuid(), "-", "") }

// triple makes an identifier as dashboards and Synthetics tests have one: xxx-xxx-xxx.
func (a *API) triple() string {
	const digits = "abcdefghijkmnpqrstuvwxyz23456789"
	n, _ := a.random()
	var b strings.Builder
	for i := range 9 {
		if i == 3 || i == 6 {
			b.WriteByte('-')
		}
		b.WriteByte(digits[n&31])
		n >>= 5
	}
	return b.String()
}

// letters makes an identifier of n letters and digits, as pipelines, archives and notebook cells have one.
func (a *API) letters(n int) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	var b strings.Builder
	for b.Len() < n {
		bits, _ := a.random()
		for i := 0; i < 10 && b.Len() < n; i++ {
			b.WriteByte(digits[bits&63])
			bits >>= 6
		}
	}
	return b.String()
}

// widgetID makes a number as widgets have one.
func (a *API) widgetID() int64 {
	n, _ := a.random()
	return int64(1e15 + n%9e15)
}

// serial makes a number as monitors and notebooks have one.
func (a *API) serial() int64 {
	a.ids.Lock()
	defer a.ids.Unlock()
	a.last += 1 + int64(a.rand.Uint64N(40))
	return a.last
}

// random returns 128 bits.
func (a *API) random() (hi, lo uint64) {
	a.ids.Lock()
	defer a.ids.Unlock()
	return a.rand.Uint64(), a.rand.Uint64()
}
