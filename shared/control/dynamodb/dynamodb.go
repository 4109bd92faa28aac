// Package dynamodb keeps the control state in a table of DynamoDB, for any number of instances.
//
// The commit point is one item, the head: it has the version and every override that is in force or ended lately, so that
// one consistent GetItem is a whole state. Before an override leaves the head, it is archived: as an item under its ID,
// and as one that orders by its end. Only a State that looks further back than the head reads those.
//
// One item per override, written together with a version in one transaction, would not do: a transaction is isolated from
// a single GetItem, but not from a Query or from several reads in a row, which may see some of its items and not others.
// So nothing here depends on a transaction being seen whole: the archive was acknowledged before the head changes.
//
// Archived items have the attribute `expires` for DynamoDB's time to live; the head has none. What has expired but is not
// deleted yet is still history. Global tables are not supported: a transaction and a consistent read hold in one region.
package dynamodb

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/llm-reliability/control-plane/shared/control"
)

// DefaultRetention is how long an archived override is kept after its end.
const DefaultRetention = 400 * 24 * time.Hour

const (
	// maxRetention keeps the sum with an end within what a time.Duration can add.
	maxRetention = 100 * 365 * 24 * time.Hour
	// lately is how long an override stays in the head after its end: longer than remediation looks back.
	lately = 2 * time.Hour
	// headBytes is the size that the head is kept below by archiving more than need be. Each 4 KiB of it are one unit of
	// read capacity per read.
	headBytes = 128 << 10
	// maxHeadBytes is what one commit may make of the head: DynamoDB's limit for an item, less room for the rest of it.
	maxHeadBytes = 400<<10 - 1<<10
	// perArchive is how many overrides one transaction archives: three items each and the head are within its limit of 100.
	perArchive = 33
)

// Options say where the state is.
type Options struct {
	// Client is required; Configure says what it must be set to.
	Client *dynamodb.Client
	// Table is the name of the table, which exists and has the string keys pk and sk.
	Table string
	// Retention is how long an override is kept after its end, at least; DefaultRetention when 0.
	Retention time.Duration
	// Now is the clock that says when an override can leave the head; time.Now when nil. A clock that is wrong costs
	// time, not correctness.
	Now func() time.Time
}

// Store is a control.Store in one table.
type Store struct {
	opts Options
	// last is the head that was read last: while the version stays the same, it need not be decoded again.
	last   atomic.Pointer[head]
	closed atomic.Bool
}

var _ control.Store = (*Store)(nil)

// New checks the options and returns a Store. It does not call DynamoDB.
func New(opts Options) (*Store, error) {
	switch {
	case opts.Client == nil:
		return nil, errors.New("dynamodb: Client is required")
	case opts.Table == "":
		return nil, errors.New("dynamodb: Table is required")
	case opts.Retention < 0 || opts.Retention > maxRetention:
		return nil, errors.New("dynamodb: Retention must be between 0 and a hundred years")
	}
	opts.Retention = cmp.Or(opts.Retention, DefaultRetention)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Store{opts: opts}, nil
}

// State implements control.Store. It costs one GetItem when the head has it all.
func (s *Store) State(ctx context.Context, since time.Time) (control.State, error) {
	state, err := s.state(ctx, since)
	if err != nil {
		return control.State{}, s.wrap(ctx, "read control state", err)
	}
	slices.SortFunc(state.Overrides, func(a, b control.Override) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return state, nil
}

func (s *Store) state(ctx context.Context, since time.Time) (control.State, error) {
	h, err := s.head(ctx)
	for err == nil && since.Before(h.horizon) {
		var old []control.Override
		if old, err = s.archived(ctx, since); err != nil {
			break
		}
		// The archive that was read is that of the head, if no commit came in between.
		before := h
		if h, err = s.head(ctx); err == nil && h.version == before.version {
			return h.state(since, old), nil
		}
	}
	if err != nil {
		return control.State{}, err
	}
	return h.state(since, nil), nil
}

// Commit implements control.Store. Its overrides must fit into one item, which some hundreds do.
func (s *Store) Commit(ctx context.Context, version control.Version, overrides []control.Override) error {
	return s.wrap(ctx, "write control state", s.commit(ctx, version, overrides))
}

func (s *Store) commit(ctx context.Context, version control.Version, overrides []control.Override) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	for _, o := range overrides {
		if !control.ValidID(o.ID) {
			return fmt.Errorf("override %q: this is no ID", o.ID)
		}
	}
	// The caller has just read the version that it commits against, so that the head is known as a rule. That it still is
	// the head, the transaction finds out.
	h := s.last.Load()
	if h == nil || h.version != version {
		var err error
		if h, err = s.head(ctx); err != nil {
			return err
		}
	}
	if h.version != version {
		return control.ErrConflict
	}
	next, leaving, err := h.after(overrides, s.opts.Now())
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(leaving, perArchive) {
		if err := s.archive(ctx, h.version, chunk); err != nil {
			return err
		}
	}
	nonce := rand.Text()
	next.version = nextVersion(version, nonce)
	item, err := encodeHead(next)
	if err != nil {
		return err
	}
	// A transaction of one item, for its token: the retry of a call whose answer was lost is answered as the first one,
	// and not with a conflict with itself.
	c := unchanged(version)
	_, err = s.opts.Client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{
		ClientRequestToken: &nonce,
		TransactItems: []types.TransactWriteItem{{Put: &types.Put{
			TableName: &s.opts.Table, Item: item,
			ConditionExpression: &c.expression, ExpressionAttributeNames: c.names, ExpressionAttributeValues: c.values,
		}}},
	})
	return err
}

// archive writes overrides of the head of this version, if it is still the head: a writer that was overtaken must not
// write what is history already. Doing it again changes nothing.
func (s *Store) archive(ctx context.Context, version control.Version, overrides []control.Override) error {
	c := unchanged(version)
	writes := []types.TransactWriteItem{{ConditionCheck: &types.ConditionCheck{
		TableName: &s.opts.Table, Key: key(headKey),
		ConditionExpression: &c.expression, ExpressionAttributeNames: c.names, ExpressionAttributeValues: c.values,
	}}}
	for _, o := range overrides {
		// One that was archived before and then committed anew may have had another end.
		before, ok, err := s.byID(ctx, o.ID)
		if err != nil {
			return err
		}
		if ok && untilKey(before) != untilKey(o) {
			writes = append(writes, types.TransactWriteItem{Delete: &types.Delete{TableName: &s.opts.Table, Key: key(untilKey(before))}})
		}
		for _, sk := range []string{idKey(o.ID), untilKey(o)} {
			item, err := encodeArchived(sk, o, s.opts.Retention)
			if err != nil {
				return err
			}
			writes = append(writes, types.TransactWriteItem{Put: &types.Put{TableName: &s.opts.Table, Item: item}})
		}
	}
	_, err := s.opts.Client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: writes})
	return err
}

// Get implements control.Store.
func (s *Store) Get(ctx context.Context, id string) (control.Override, bool, error) {
	o, ok, err := s.get(ctx, id)
	return o, ok, s.wrap(ctx, "read override "+strconv.Quote(id), err)
}

func (s *Store) get(ctx context.Context, id string) (control.Override, bool, error) {
	h, err := s.head(ctx)
	if err != nil {
		return control.Override{}, false, err
	}
	if i := slices.IndexFunc(h.overrides, func(o control.Override) bool { return o.ID == id }); i >= 0 {
		return copied(h.overrides[i]), true, nil
	}
	if !control.ValidID(id) {
		return control.Override{}, false, nil // none can have been committed
	}
	return s.byID(ctx, id)
}

// Ping implements control.Store.
func (s *Store) Ping(ctx context.Context) error {
	err := s.usable(ctx)
	if err == nil {
		// A key alone, and not read consistently: half a unit of capacity, however large the head is.
		_, err = s.opts.Client.GetItem(ctx, &dynamodb.GetItemInput{
			TableName: &s.opts.Table, Key: key("ping"), ProjectionExpression: aws.String(pkName),
		})
	}
	return s.wrap(ctx, "reach control state", err)
}

// Close implements control.Store. The client is not closed: it has nothing to close, and others may use it.
func (s *Store) Close() error {
	s.closed.Store(true)
	return nil
}

func (s *Store) usable(ctx context.Context) error {
	if s.closed.Load() {
		return errors.New("the store is closed")
	}
	return ctx.Err()
}

// head reads the head, consistently.
func (s *Store) head(ctx context.Context) (*head, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	item, err := s.item(ctx, headKey)
	if err != nil {
		return nil, err
	}
	if last := s.last.Load(); last != nil && item != nil && string(last.version) == text(item, versionName) {
		return last, nil
	}
	h, err := decodeHead(item)
	if err != nil {
		return nil, err
	}
	s.last.Store(h)
	return h, nil
}

func (s *Store) byID(ctx context.Context, id string) (control.Override, bool, error) {
	item, err := s.item(ctx, idKey(id))
	if err != nil || item == nil {
		return control.Override{}, false, err
	}
	o, err := decodeArchived(item)
	return o, err == nil, err
}

// item reads one item, consistently; nil when there is none.
func (s *Store) item(ctx context.Context, sk string) (item, error) {
	out, err := s.opts.Client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &s.opts.Table, Key: key(sk), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return nil, err
	}
	return out.Item, nil
}

// archived reads what was archived and held until later than since, or exactly until then.
func (s *Store) archived(ctx context.Context, since time.Time) ([]control.Override, error) {
	pages := dynamodb.NewQueryPaginator(s.opts.Client, &dynamodb.QueryInput{
		TableName: &s.opts.Table, ConsistentRead: aws.Bool(true),
		KeyConditionExpression:   aws.String("#pk = :pk AND #sk BETWEEN :since AND :end"),
		ExpressionAttributeNames: map[string]string{"#pk": pkName, "#sk": skName},
		ExpressionAttributeValues: item{
			":pk": str(partition), ":since": str(untilPrefix + sortable(since)), ":end": str(untilPrefix + "~"),
		},
	})
	var out []control.Override
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			o, err := decodeArchived(item)
			if err != nil {
				return nil, err
			}
			out = append(out, o)
		}
	}
	return out, nil
}

// wrap says what was tried, and where. Conflicts and ended contexts stay what they are; all else makes the store
// unavailable.
func (s *Store) wrap(ctx context.Context, tried string, err error) error {
	if err == nil {
		return nil
	}
	tried = fmt.Sprintf("%s in DynamoDB table %q of region %q", tried, s.opts.Table, s.opts.Client.Options().Region)
	switch {
	case conflict(err):
		return fmt.Errorf("%s: %w", tried, control.ErrConflict)
	case ctx.Err() != nil && !s.closed.Load():
		return fmt.Errorf("%s: %w: %v", tried, ctx.Err(), err)
	}
	return fmt.Errorf("%s: %w: %w", tried, control.ErrUnavailable, err)
}

// conflict is whether another writer was first, or is at it.
func conflict(err error) bool {
	var canceled *types.TransactionCanceledException
	if !errors.As(err, &canceled) {
		return errors.Is(err, control.ErrConflict)
	}
	return slices.ContainsFunc(canceled.CancellationReasons, func(r types.CancellationReason) bool {
		return slices.Contains([]string{"ConditionalCheckFailed", "TransactionConflict"}, aws.ToString(r.Code))
	})
}
