package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/deploy/diff"
	"github.com/llm-reliability/control-plane/infra/assets/deploy/remote"
	"github.com/llm-reliability/control-plane/shared/ddapi"
)

// Result is what was done.
type Result struct {
	Site string `json:"site"`
	Done []Step `json:"done"`
	// Left are what a destroy leaves, and why.
	Left []string `json:"left,omitempty"`
}

// Stopped is the error of an apply or a destroy that did not come to its end.
type Stopped struct {
	// Failed are the steps that failed, and why.
	Failed []string
	// Done steps are recorded in the state; NotDone were not begun.
	Done    int
	NotDone []string

	cause error
}

// Error says what was done, what was not, and how to go on.
func (s *Stopped) Error() string {
	var b strings.Builder
	b.WriteString(strings.Join(s.Failed, "\n"))
	fmt.Fprintf(&b, "\n%d steps were done, and the state has them.", s.Done)
	if len(s.NotDone) > 0 {
		fmt.Fprintf(&b, " Not done: %s.", strings.Join(s.NotDone, ", "))
	}
	b.WriteString(" The same command goes on from here.")
	return b.String()
}

// Unwrap returns the first failure.
func (s *Stopped) Unwrap() error { return s.cause }

// Apply does what a plan says. The plan must be one of this Deployer's, and the latest. An error is a *Stopped when some
// steps may have been done.
func (d *Deployer) Apply(ctx context.Context, p Plan) (Result, error) {
	r, err := d.apply(ctx, p)
	return r, d.safe(err)
}

func (d *Deployer) apply(ctx context.Context, p Plan) (Result, error) {
	digests, err := d.digests(p.values)
	if err != nil {
		return Result{}, err
	}
	r := &run{d: d, values: p.values, digests: digests, ids: map[assets.Ref]string{}, total: len(p.Steps) - p.Count(Unchanged)}
	var making, deleting []Step
	for _, s := range p.Steps {
		switch s.Action {
		case Unchanged:
			r.know(s, s.ID)
			if err := r.record(s, s.ID); err != nil {
				return Result{}, err
			}
		case Delete:
			deleting = append(deleting, s)
		default:
			making = append(making, s)
		}
	}
	if err := r.make(ctx, making); err != nil {
		err.NotDone = append(err.NotDone, namesOf(deleting)...)
		return r.result(), err
	}
	if err := r.delete(ctx, deleting); err != nil {
		return r.result(), err
	}
	return r.result(), nil
}

func namesOf(steps []Step) []string {
	names := make([]string, len(steps))
	for i, s := range steps {
		names[i] = s.Name()
	}
	return names
}

// run is one apply or destroy.
type run struct {
	d       *Deployer
	values  map[assets.Ref]string
	digests map[string]string
	total   int

	mu   sync.Mutex
	ids  map[assets.Ref]string
	done []Step
}

func (r *run) result() Result {
	done := slices.Clone(r.done)
	for i := range done {
		done[i].live = nil
	}
	return Result{Site: r.d.opts.Site, Done: done}
}

// know keeps the identifier of an object for what refers to it.
func (r *run) know(s Step, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids[assets.Ref{Kind: string(s.Kind), Name: s.Key}] = id
}

func (r *run) known() map[assets.Ref]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.ids)
}

// report tells of a step that began or ended, and counts those that are done.
func (r *run) report(s Step, ended bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := Event{Step: s, Ended: ended, Total: r.total}
	if ended && err == nil {
		r.done = append(r.done, s)
	}
	if err != nil {
		e.Error = r.d.hide(err.Error())
	}
	e.Done = len(r.done)
	r.d.opts.Progress(e)
}

// stopped makes the error of a run with failures.
func (r *run) stopped(failed []failure, notDone []Step) *Stopped {
	s := &Stopped{Done: len(r.done), NotDone: namesOf(notDone), cause: failed[0].err}
	for _, f := range failed {
		s.Failed = append(s.Failed, fmt.Sprintf("%s %s: %s", f.step.Action, f.step.Name(), r.d.hide(f.err.Error())))
	}
	return s
}

type failure struct {
	step Step
	err  error
}

// make makes and changes objects: each when those that it refers to are done, some at a time. After a failure nothing new
// begins, and what runs comes to its end.
func (r *run) make(ctx context.Context, steps []Step) *Stopped {
	waits := r.waitsFor(steps)
	type ending struct {
		i   int
		err error
	}
	endings := make(chan ending)
	begun, ended := make([]bool, len(steps)), make([]bool, len(steps))
	var failed []failure
	running := 0
	for {
		for i := range steps {
			ready := !begun[i] && !slices.ContainsFunc(waits[i], func(j int) bool { return !ended[j] })
			if !ready || len(failed) > 0 || ctx.Err() != nil || running == r.d.opts.Parallel {
				continue
			}
			begun[i] = true
			running++
			r.report(steps[i], false, nil)
			go func() { endings <- ending{i, r.do(ctx, steps[i])} }()
		}
		if running == 0 {
			break
		}
		end := <-endings
		running--
		r.report(steps[end.i], true, end.err)
		if end.err != nil {
			failed = append(failed, failure{steps[end.i], end.err})
			continue
		}
		ended[end.i] = true
	}
	var notDone []Step
	for i, s := range steps {
		if !begun[i] {
			notDone = append(notDone, s)
		}
	}
	if len(failed) == 0 && len(notDone) > 0 {
		failed = append(failed, failure{notDone[0], context.Cause(ctx)})
	}
	if len(failed) == 0 {
		return nil
	}
	return r.stopped(failed, notDone)
}

// waitsFor returns for each step those that must be done before: what it refers to, the metadata of a metric before its
// tags, and where requests go one after the other the one before.
func (r *run) waitsFor(steps []Step) [][]int {
	at := map[assets.Ref]int{}
	for i, s := range steps {
		at[assets.Ref{Kind: string(s.Kind), Name: s.Key}] = i
	}
	waits := make([][]int, len(steps))
	serial := -1
	for i, s := range steps {
		refs := slices.Clone(r.d.refs(s.asset))
		if s.Kind == assets.MetricTags {
			refs = append(refs, assets.Ref{Kind: string(assets.MetricMetadata), Name: s.Key})
		}
		for _, ref := range refs {
			if j, ok := at[ref]; ok && j != i {
				waits[i] = append(waits[i], j)
			}
		}
		if remote.TraitsOf(s.Kind).Serial {
			if serial >= 0 {
				waits[i] = append(waits[i], serial)
			}
			serial = i
		}
	}
	return waits
}

// do does one step and records it.
func (r *run) do(ctx context.Context, s Step) error {
	ids := r.known()
	raw, err := assets.Resolve(s.asset, func(kind, name string) (string, bool) {
		ref := assets.Ref{Kind: kind, Name: name}
		if v, ok := r.values[ref]; ok {
			return v, true
		}
		id, ok := ids[ref]
		return id, ok
	})
	if err != nil {
		return err
	}
	body, err := diff.Decode(raw)
	if err != nil {
		return err
	}
	id := s.ID
	switch s.Action {
	case Create:
		id, err = r.create(ctx, s, body)
	case Update:
		if err = r.d.remote.Update(ctx, *s.live, s.Kind, body); ddapi.Status(err) == http.StatusNotFound {
			// It may have gone with what it belonged to, as the rules of a channel that was made anew.
			if now, look := r.d.remote.Get(ctx, s.Kind, s.scope, s.ID); look == nil && now == nil {
				id, err = r.create(ctx, s, body)
			}
		}
	case Replace:
		if err := r.d.remote.Delete(ctx, s.Kind, s.scope, s.ID, true); err != nil {
			return err
		}
		if err := r.d.opts.State.forget(s.Name(), s.ID); err != nil {
			return err
		}
		id, err = r.create(ctx, s, body)
	}
	if err != nil {
		return err
	}
	r.know(s, id)
	return r.record(s, id)
}

// record writes an object into the state, unless it is there as it is.
func (r *run) record(s Step, id string) error {
	v, err := view(s.asset, r.values, r.known())
	if err != nil {
		return err
	}
	applied, err := encode(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", s.Name(), err)
	}
	e := entry{ID: id, Scope: s.scope, Applied: applied}
	for _, ref := range r.d.refs(s.asset) {
		if ref.Kind == assets.Secret {
			if e.Secrets == nil {
				e.Secrets = map[string]string{}
			}
			e.Secrets[ref.Name] = r.digests[ref.Name]
		}
	}
	before, ok := r.d.opts.State.entry(s.Name())
	if ok && before.ID == e.ID && before.Scope == e.Scope && maps.Equal(before.Secrets, e.Secrets) && bytes.Equal(before.Applied, applied) {
		return nil
	}
	return r.d.opts.State.set(s.Name(), e)
}

// tries is how often an object is made whose creates have no answer.
const tries = 3

// create makes an object. One whose create has no answer is looked for before it is made again. The state says that a create
// began, so that an object without a mark is known again when the program ends here.
func (r *run) create(ctx context.Context, s Step, body any) (string, error) {
	traits, state := remote.TraitsOf(s.Kind), r.d.opts.State
	if !traits.Own {
		if err := state.begin(s.Name(), pending{remote.Name(s.Kind, s.Key, body), s.scope}); err != nil {
			return "", err
		}
	}
	for try := 1; ; try++ {
		id, err := r.d.remote.Create(ctx, s.Kind, s.scope, s.Key, body)
		switch {
		case err == nil && id != "":
			return id, nil
		case err != nil && !ddapi.Unknown(err):
			if try == 1 && !traits.Own && refused(err) {
				err = errors.Join(err, state.over(s.Name()))
			}
			return "", err
		case ctx.Err() != nil:
			return "", err
		case traits.Blind:
			return "", fmt.Errorf("%w, and %w. %s", err, remote.ErrNoList, whichOne(s.Name()))
		}
		found, look := r.search(ctx, s, body)
		switch {
		case look != nil:
			return "", errors.Join(err, fmt.Errorf("look whether it was made: %w", look))
		case found != "":
			return found, nil
		case try == tries && err == nil:
			return "", errors.New("it was accepted, and does not show")
		case try == tries:
			return "", err
		}
	}
}

// refused reports whether an answer says that nothing was made.
func refused(err error) bool {
	status := ddapi.Status(err)
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout
}

// search looks for an object that may have been made just now.
func (r *run) search(ctx context.Context, s Step, body any) (string, error) {
	for look := 0; ; look++ {
		found, err := r.d.remote.Find(ctx, s.Kind, s.scope, s.Key, body)
		if err != nil {
			return "", err
		}
		if marked := slices.DeleteFunc(slices.Clone(found), func(o remote.Object) bool { return o.Mark != s.Key }); len(marked) > 0 {
			found = marked
		}
		switch {
		case len(found) == 1:
			return found[0].ID, nil
		case len(found) > 1:
			return "", fmt.Errorf("%s have its name", idsOf(found))
		case look == 2:
			return "", nil
		}
		if err := wait(ctx, pause); err != nil {
			return "", err
		}
	}
}

// delete deletes objects, kind by kind in the order given. What Datadog refuses because something else refers to it is tried
// again after the rest, as long as that makes a difference.
func (r *run) delete(ctx context.Context, steps []Step) *Stopped {
	for {
		var refusals, others []failure
		var left []Step
		for from := 0; from < len(steps); {
			to := from + 1
			for to < len(steps) && steps[to].Kind == steps[from].Kind {
				to++
			}
			group, errs := steps[from:to], make([]error, to-from)
			from = to
			if len(others) > 0 || ctx.Err() != nil {
				left = append(left, group...)
				continue
			}
			err := r.d.each(ctx, len(group), func(ctx context.Context, i int) error {
				r.report(group[i], false, nil)
				errs[i] = r.d.remote.Delete(ctx, group[i].Kind, group[i].scope, group[i].ID, false)
				if errs[i] == nil {
					errs[i] = r.d.opts.State.forget(group[i].Name(), group[i].ID)
				}
				r.report(group[i], true, errs[i])
				return nil
			})
			if err != nil { // No call above returns one.
				return r.stopped([]failure{{group[0], err}}, left)
			}
			for i, err := range errs {
				switch status := ddapi.Status(err); {
				case err == nil:
				case status == http.StatusConflict || status == http.StatusBadRequest || status == http.StatusUnprocessableEntity:
					refusals = append(refusals, failure{group[i], err})
				default:
					others = append(others, failure{group[i], err})
				}
			}
		}
		switch {
		case len(others) > 0:
			return r.stopped(append(others, refusals...), left)
		case len(left) > 0:
			return r.stopped([]failure{{left[0], context.Cause(ctx)}}, left)
		case len(refusals) == 0:
			return nil
		case len(refusals) == len(steps):
			return r.stopped(refusals, nil)
		}
		steps = nil
		for _, f := range refusals {
			steps = append(steps, f.step)
		}
	}
}
