// Package dynamodb keeps an outbox in a table of DynamoDB, which may be that of the control state: its keys begin with a name of their
// own, and roles are granted by it.
//
// A record is one item, written under the condition of its version. What is due is found by a second item, the marker, in one partition
// that is ordered by time: it is written before the record that it stands for, and deleted after the record has moved on, so that a
// record that waits always has one. A marker whose record has another version stands for nothing: its writer lost against another one, or
// died. It is overlooked, and deleted when it is old. So nothing here needs a transaction or an index.
package dynamodb

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/llm-reliability/control-plane/shared/outbox"
)

// The keys and attributes on the wire. Roles and the table's time to live rest on them: the partition of a record is
// <name>#record#<key>, and that of all markers <name>#due.
const (
	pkName, skName = "pk", "sk"
	sortKey        = "record"
	versionName    = "version"
	dueName        = "due"
	untilName      = "until"
	dataName       = "data"
	keyName        = "key"
	// expiresName is when DynamoDB may delete an item, in seconds since 1970.
	expiresName = "expires"
)

// instant is how times are written where they must sort.
const instant = "2006-01-02T15:04:05.000Z"

// stale is how old a marker without its record must be to be deleted: no write takes so long.
const stale = time.Hour

// Options say where the outbox is.
type Options struct {
	// Client is required. Its retries and pauses should be those of the control state: see Configure there.
	Client *dynamodb.Client
	// Table is the name of the table, which exists and has the string keys pk and sk.
	Table string
	// Name begins every partition; required.
	Name string
}

// Store is an outbox.Store in one table.
type Store struct {
	opts   Options
	closed atomic.Bool
}

var _ outbox.Store = (*Store)(nil)

// New checks the options and returns a Store. It does not call DynamoDB.
func New(opts Options) (*Store, error) {
	switch {
	case opts.Client == nil:
		return nil, errors.New("dynamodb: Client is required")
	case opts.Table == "":
		return nil, errors.New("dynamodb: Table is required")
	case opts.Name == "" || strings.Contains(opts.Name, "#"):
		return nil, errors.New("dynamodb: Name is required, and must not contain #")
	}
	return &Store{opts: opts}, nil
}

// Get implements outbox.Store. Its read is consistent.
func (s *Store) Get(ctx context.Context, key string) (outbox.Record, bool, error) {
	r, ok, err := s.get(ctx, key)
	return r, ok, s.wrap(ctx, "read record", err)
}

func (s *Store) get(ctx context.Context, key string) (outbox.Record, bool, error) {
	if err := s.usable(ctx); err != nil {
		return outbox.Record{}, false, err
	}
	out, err := s.opts.Client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &s.opts.Table, Key: s.recordKey(key), ConsistentRead: aws.Bool(true),
	})
	if err != nil || out.Item == nil {
		return outbox.Record{}, false, err
	}
	r := outbox.Record{Key: key, Version: text(out.Item, versionName)}
	if due := text(out.Item, dueName); due != "" {
		if r.Due, err = time.Parse(instant, due); err != nil {
			return outbox.Record{}, false, fmt.Errorf("attribute %q: %w", dueName, err)
		}
	}
	if r.Expires, err = time.Parse(time.RFC3339Nano, text(out.Item, untilName)); err != nil {
		return outbox.Record{}, false, fmt.Errorf("attribute %q: %w", untilName, err)
	}
	if data, ok := out.Item[dataName].(*types.AttributeValueMemberB); ok {
		r.Data = data.Value
	}
	return r, true, nil
}

// Put implements outbox.Store.
func (s *Store) Put(ctx context.Context, r outbox.Record) (outbox.Record, error) {
	next, err := s.put(ctx, r)
	return next, s.wrap(ctx, "write record", err)
}

func (s *Store) put(ctx context.Context, r outbox.Record) (outbox.Record, error) {
	if err := s.usable(ctx); err != nil {
		return outbox.Record{}, err
	}
	if err := outbox.Check(r); err != nil {
		return outbox.Record{}, err
	}
	next := r
	next.Due = r.Due.UTC().Truncate(time.Millisecond)
	// The version of a record that waits is the sort key of its marker.
	next.Version = rand.Text()
	item := s.recordKey(r.Key)
	if !r.Due.IsZero() {
		due := next.Due.Format(instant)
		next.Version = due + "#" + next.Version
		item[dueName] = str(due)
		marker := s.markerKey(next.Version)
		marker[keyName], marker[expiresName] = str(r.Key), seconds(r.Expires)
		if _, err := s.opts.Client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &s.opts.Table, Item: marker}); err != nil {
			return outbox.Record{}, fmt.Errorf("mark it: %w", err)
		}
	}
	item[versionName], item[untilName], item[expiresName] = str(next.Version), str(r.Expires.UTC().Format(time.RFC3339Nano)), seconds(r.Expires)
	item[dataName] = &types.AttributeValueMemberB{Value: r.Data}
	in := &dynamodb.PutItemInput{TableName: &s.opts.Table, Item: item, ExpressionAttributeNames: map[string]string{"#version": versionName}}
	if r.Version == "" {
		in.ConditionExpression = aws.String("attribute_not_exists(#version)")
	} else {
		in.ConditionExpression = aws.String("#version = :version")
		in.ExpressionAttributeValues = map[string]types.AttributeValue{":version": str(r.Version)}
	}
	_, err := s.opts.Client.PutItem(ctx, in)
	if _, refused := errors.AsType[*types.ConditionalCheckFailedException](err); refused {
		// The SDK repeats a write to which it got no answer, and then meets what it has written itself.
		var now outbox.Record
		if now, _, err = s.get(ctx, r.Key); err == nil && now.Version != next.Version {
			err = outbox.ErrConflict
			s.unmark(ctx, next.Version)
		}
	}
	if err != nil {
		return outbox.Record{}, err
	}
	s.unmark(ctx, r.Version)
	return next, nil
}

// unmark deletes the marker of a version that is no more. When that fails, Due does it later.
func (s *Store) unmark(ctx context.Context, version string) {
	if strings.Contains(version, "#") {
		_, _ = s.opts.Client.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &s.opts.Table, Key: s.markerKey(version)})
	}
}

// Due implements outbox.Store.
func (s *Store) Due(ctx context.Context, now time.Time, limit int) ([]outbox.Record, error) {
	found, err := s.due(ctx, now, limit)
	if err != nil {
		return nil, s.wrap(ctx, "list records that are due", err)
	}
	return found, nil
}

func (s *Store) due(ctx context.Context, now time.Time, limit int) ([]outbox.Record, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	pages := dynamodb.NewQueryPaginator(s.opts.Client, &dynamodb.QueryInput{
		TableName: &s.opts.Table, ConsistentRead: aws.Bool(true), KeyConditionExpression: aws.String("#pk = :pk AND #sk BETWEEN :since AND :end"),
		ExpressionAttributeNames: map[string]string{"#pk": pkName, "#sk": skName},
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":pk": str(s.opts.Name + "#due"), ":since": str("0"), ":end": str(now.UTC().Format(instant) + "#~"),
		},
	})
	var found []outbox.Record
	for pages.HasMorePages() && len(found) < limit {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, marker := range page.Items {
			if len(found) >= limit {
				break
			}
			version := text(marker, skName)
			r, ok, err := s.get(ctx, text(marker, keyName))
			if err != nil {
				return nil, err
			}
			if ok && r.Version == version {
				found = append(found, r)
				continue
			}
			due, _, _ := strings.Cut(version, "#")
			if at, err := time.Parse(instant, due); err != nil || now.Sub(at) > stale {
				s.unmark(ctx, version)
			}
		}
	}
	return found, nil
}

// Ping implements outbox.Store. It reads one item that is not there.
func (s *Store) Ping(ctx context.Context) error {
	_, _, err := s.get(ctx, "ping")
	return s.wrap(ctx, "reach outbox", err)
}

// Close implements outbox.Store.
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

// wrap says what was tried, and where. Conflicts and ended contexts stay what they are; all else makes the store unavailable.
func (s *Store) wrap(ctx context.Context, tried string, err error) error {
	if err == nil {
		return nil
	}
	tried = fmt.Sprintf("%s in DynamoDB table %q of region %q", tried, s.opts.Table, s.opts.Client.Options().Region)
	switch {
	case errors.Is(err, outbox.ErrConflict):
		return fmt.Errorf("%s: %w", tried, err)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w: %v", tried, ctx.Err(), err)
	}
	return fmt.Errorf("%s: %w: %w", tried, outbox.ErrUnavailable, err)
}

func (s *Store) recordKey(key string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{pkName: str(s.opts.Name + "#record#" + key), skName: str(sortKey)}
}

func (s *Store) markerKey(version string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{pkName: str(s.opts.Name + "#due"), skName: str(cmp.Or(version, "0"))}
}

func str(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

// seconds is a time for DynamoDB's time to live, rounded up: nothing is deleted before its time.
func seconds(t time.Time) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(t.Add(time.Second-1).Unix(), 10)}
}

// text returns an attribute that is a string, and "" for any other.
func text(item map[string]types.AttributeValue, name string) string {
	if s, ok := item[name].(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}
