// Package firestore keeps the answers that all instances share in Cloud Firestore, in Native mode. It neither makes the
// database nor sets the TTL policy on the field "expires", which deletes a document within a day or so: whether an entry
// has expired is judged when it is read.
package firestore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/llm-reliability/control-plane/shared/cache"
)

// maxEntry is the largest JSON of an entry: what Firestore takes as one document, less what comes with the entry in it,
// its name above all, which is at most about 6 KiB.
const maxEntry = 1<<20 - 8<<10

// prefix keeps the IDs of documents clear of those that Firestore forbids.
const prefix = "entry."

// kept is the document of one entry.
type kept struct {
	Entry   string    `firestore:"entry"`
	Expires time.Time `firestore:"expires"`
}

// Options are the dependencies of a Tier.
type Options struct {
	// Client is required. The Tier does not close it.
	Client *firestore.Client
	// Prefix begins the collection's name, <prefix>-cache; "lrcp" when empty.
	Prefix string
}

// Tier is a cache.Tier in one collection. The caller's context alone bounds its calls: without an end, the SDK repeats a
// call for a minute or for ever.
type Tier struct {
	collection *firestore.CollectionRef
}

var _ cache.Tier = (*Tier)(nil)

// New checks the options and returns a Tier. It does not call Firestore.
func New(opts Options) (*Tier, error) {
	if opts.Client == nil {
		return nil, errors.New("firestore: Client is required")
	}
	name := cmp.Or(opts.Prefix, "lrcp") + "-cache"
	if strings.Contains(name, "/") {
		return nil, fmt.Errorf("firestore: Prefix %q contains a slash, which separates collections from documents", opts.Prefix)
	}
	return &Tier{opts.Client.Collection(name)}, nil
}

// doc is the document of a key. A slash would separate it from a collection below.
func (t *Tier) doc(key string) *firestore.DocumentRef {
	return t.collection.Doc(prefix + url.PathEscape(key))
}

// Get implements cache.Tier.
func (t *Tier) Get(ctx context.Context, key string, now time.Time) (e cache.Entry, ok bool, err error) {
	var k kept
	doc, err := t.doc(key).Get(ctx)
	switch {
	case doc != nil && !doc.Exists():
		return cache.Entry{}, false, nil // a missing document is an error to the SDK
	case err != nil:
		return cache.Entry{}, false, t.failed(ctx, "read", err)
	}
	if err := doc.DataTo(&k); err != nil {
		return cache.Entry{}, false, t.failed(ctx, "read", err)
	}
	if !now.Before(k.Expires) {
		return cache.Entry{}, false, nil
	}
	if err := json.Unmarshal([]byte(k.Entry), &e); err != nil {
		return cache.Entry{}, false, t.failed(ctx, "read", err)
	}
	return e, true, nil
}

// Put implements cache.Tier.
func (t *Tier) Put(ctx context.Context, key string, e cache.Entry, expires time.Time) error {
	value, err := json.Marshal(e)
	if err != nil {
		return t.failed(ctx, "write", err)
	}
	if len(value) > maxEntry {
		return t.failed(ctx, "write", fmt.Errorf("%w: %d bytes, at most %d", cache.ErrTooLarge, len(value), maxEntry))
	}
	if _, err := t.doc(key).Set(ctx, kept{string(value), expires.UTC()}); err != nil {
		return t.failed(ctx, "write", err)
	}
	return nil
}

// failed says what was tried and where. An ended context is told by its own error, which those of gRPC are not. The other
// side knows the deadline, and may tell that it has passed before the own clock does.
func (t *Tier) failed(ctx context.Context, tried string, err error) error {
	ended := ctx.Err()
	if ended == nil && status.Code(err) == codes.DeadlineExceeded {
		ended = context.DeadlineExceeded
	}
	if ended != nil {
		err = fmt.Errorf("%w: %w", ended, err)
	}
	return fmt.Errorf("%s an entry in %s: %w", tried, t.collection.Path, err)
}
