// Package firestore keeps counters in Cloud Firestore, in Native mode. It neither makes the database nor sets the TTL policy on the
// field "expires", which deletes a document within a day or so: IDs name their window, so that nothing old is read.
//
// All deltas are one commit of increments, and are read back after it. One document takes about one write a second for long, so
// that a caller of many instances makes some calls wait: a Limiter goes on without them then.
package firestore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/llm-reliability/control-plane/shared/limit"
)

// kept is the document of one counter.
type kept struct {
	Requests int64     `firestore:"requests"`
	Tokens   int64     `firestore:"tokens"`
	NanoUSD  int64     `firestore:"nanousd"`
	Expires  time.Time `firestore:"expires"`
}

// Options are the dependencies of Counters.
type Options struct {
	// Client is required. Counters do not close it.
	Client *firestore.Client
	// Prefix begins the collection's name, <prefix>-limit; "lrcp" when empty.
	Prefix string
}

// Counters are limit.Counters in one collection. The caller's context alone bounds its calls: without an end, the SDK repeats a
// call for a minute or for ever.
type Counters struct {
	client     *firestore.Client
	collection *firestore.CollectionRef
}

var _ limit.Counters = (*Counters)(nil)

// New checks the options and returns Counters. It does not call Firestore.
func New(opts Options) (*Counters, error) {
	if opts.Client == nil {
		return nil, errors.New("firestore: Client is required")
	}
	name := cmp.Or(opts.Prefix, "lrcp") + "-limit"
	if strings.Contains(name, "/") {
		return nil, fmt.Errorf("firestore: Prefix %q contains a slash, which separates collections from documents", opts.Prefix)
	}
	return &Counters{opts.Client, opts.Client.Collection(name)}, nil
}

// doc is the document of a counter. A name that is escaped has neither a slash nor the dot that separates it from the window.
func (c *Counters) doc(k limit.Key) *firestore.DocumentRef {
	return c.collection.Doc(k.Window + "." + strings.ReplaceAll(url.PathEscape(k.Caller), ".", "%2E"))
}

// Add implements limit.Counters.
func (c *Counters) Add(ctx context.Context, deltas []limit.Delta) ([]limit.Amounts, error) {
	sums, err := c.add(ctx, deltas)
	if err == nil {
		return sums, nil
	}
	// An ended context is told by its own error, which those of gRPC are not. The other side may tell of it first.
	ended := ctx.Err()
	if ended == nil && status.Code(err) == codes.DeadlineExceeded {
		ended = context.DeadlineExceeded
	}
	if ended != nil {
		err = fmt.Errorf("%w: %w", ended, err)
	}
	return nil, fmt.Errorf("add to counters in %s: %w", c.collection.Path, err)
}

func (c *Counters) add(ctx context.Context, deltas []limit.Delta) ([]limit.Amounts, error) {
	docs := make([]*firestore.DocumentRef, len(deltas))
	writes := 0
	for i, d := range deltas {
		docs[i] = c.doc(d.Key)
		if d.Add != (limit.Amounts{}) {
			writes++
		}
	}
	if writes > 0 {
		// A transaction that reads nothing is one commit, and contends with nobody. It is not tried again: it may have been made.
		err := c.client.RunTransaction(ctx, func(_ context.Context, tx *firestore.Transaction) error {
			for i, d := range deltas {
				if d.Add == (limit.Amounts{}) {
					continue
				}
				if err := tx.Set(docs[i], map[string]any{
					"requests": firestore.Increment(d.Add.Requests), "tokens": firestore.Increment(d.Add.Tokens),
					"nanousd": firestore.Increment(d.Add.NanoUSD), "expires": d.Expires.UTC(),
				}, firestore.MergeAll); err != nil {
					return err
				}
			}
			return nil
		}, firestore.MaxAttempts(1))
		if err != nil {
			return nil, err
		}
	}
	found, err := c.client.GetAll(ctx, docs)
	if err != nil {
		return nil, err
	}
	sums := make([]limit.Amounts, len(deltas))
	for i, doc := range found {
		if !doc.Exists() {
			continue
		}
		var k kept
		if err := doc.DataTo(&k); err != nil {
			return nil, err
		}
		sums[i] = limit.Amounts{Requests: k.Requests, Tokens: k.Tokens, NanoUSD: k.NanoUSD}
	}
	return sums, nil
}
