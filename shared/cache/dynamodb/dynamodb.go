// Package dynamodb is the cache tier in a table of DynamoDB, which may be that of the control state: the keys of entries
// begin with another word, and roles are granted by it.
//
// Reads are consistent, because the contract of a tier says that the entry put last comes back; a read that may be behind
// would cost half. DynamoDB deletes what has expired within days after; until then, the reader judges.
package dynamodb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/llm-reliability/control-plane/shared/cache"
)

// The keys and attributes on the wire. Roles and the table's time to live rest on them.
const (
	pkName, skName  = "pk", "sk"
	partitionPrefix = "cache#"
	sortKey         = "entry"
	// An entry as JSON, when it expires, and when DynamoDB may delete it, in seconds since 1970.
	entryName   = "entry"
	untilName   = "until"
	expiresName = "expires"
)

// maxItem is the size up to which DynamoDB takes an item, names included.
const maxItem = 400 << 10

// Options say where the entries are.
type Options struct {
	// Client is required. Its retries and pauses should be those of the control state: see Configure there.
	Client *dynamodb.Client
	// Table is the name of the table, which exists and has the string keys pk and sk.
	Table string
}

// Tier is a cache.Tier in one table.
type Tier struct{ opts Options }

var _ cache.Tier = (*Tier)(nil)

// New checks the options and returns a Tier. It does not call DynamoDB.
func New(opts Options) (*Tier, error) {
	switch {
	case opts.Client == nil:
		return nil, errors.New("dynamodb: Client is required")
	case opts.Table == "":
		return nil, errors.New("dynamodb: Table is required")
	}
	return &Tier{opts}, nil
}

// Get implements cache.Tier.
func (t *Tier) Get(ctx context.Context, key string, now time.Time) (cache.Entry, bool, error) {
	out, err := t.opts.Client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &t.opts.Table, Key: itemKey(key), ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return cache.Entry{}, false, t.wrap(ctx, "read entry", err)
	}
	if out.Item == nil {
		return cache.Entry{}, false, nil
	}
	until, err := time.Parse(time.RFC3339Nano, text(out.Item, untilName))
	if err != nil {
		return cache.Entry{}, false, t.wrap(ctx, "read entry", fmt.Errorf("attribute %q: %w", untilName, err))
	}
	if !now.Before(until) {
		return cache.Entry{}, false, nil
	}
	var e cache.Entry
	if err := json.Unmarshal([]byte(text(out.Item, entryName)), &e); err != nil {
		return cache.Entry{}, false, t.wrap(ctx, "read entry", fmt.Errorf("attribute %q: %w", entryName, err))
	}
	return e, true, nil
}

// Put implements cache.Tier. What is larger than an item can be is not sent.
func (t *Tier) Put(ctx context.Context, key string, e cache.Entry, expires time.Time) error {
	const tried = "write entry"
	if err := ctx.Err(); err != nil {
		return t.wrap(ctx, tried, err)
	}
	if len(e.Response.Text) > maxItem {
		return t.wrap(ctx, tried, fmt.Errorf("%w: a text of %d bytes", cache.ErrTooLarge, len(e.Response.Text)))
	}
	encoded, err := json.Marshal(e)
	if err != nil {
		return t.wrap(ctx, tried, err)
	}
	item := itemKey(key)
	item[entryName] = str(string(encoded))
	item[untilName] = str(expires.UTC().Format(time.RFC3339Nano))
	// Rounded up: nothing is deleted before its time.
	item[expiresName] = &types.AttributeValueMemberN{Value: strconv.FormatInt(expires.Add(time.Second-1).Unix(), 10)}
	if n := size(item); n > maxItem {
		return t.wrap(ctx, tried, fmt.Errorf("%w: an item of %d bytes", cache.ErrTooLarge, n))
	}
	_, err = t.opts.Client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &t.opts.Table, Item: item})
	if refusedForSize(err) {
		err = fmt.Errorf("%w: %w", cache.ErrTooLarge, err)
	}
	return t.wrap(ctx, tried, err)
}

// size is the size of an item as DynamoDB counts it: the names and the values. Numbers take less than their digits.
func size(item map[string]types.AttributeValue) int {
	n := 0
	for name := range item {
		n += len(name) + len(text(item, name))
	}
	return n + len("1234567890")
}

// refusedForSize is whether DynamoDB counted otherwise.
func refusedForSize(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "ValidationException" && strings.Contains(api.ErrorMessage(), "Item size")
}

// wrap says what was tried, and where. The key is left out: it stands for what a person asked.
func (t *Tier) wrap(ctx context.Context, tried string, err error) error {
	if err == nil {
		return nil
	}
	tried = fmt.Sprintf("%s in DynamoDB table %q of region %q", tried, t.opts.Table, t.opts.Client.Options().Region)
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w: %v", tried, ctx.Err(), err)
	}
	return fmt.Errorf("%s: %w", tried, err)
}

func itemKey(key string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{pkName: str(partitionPrefix + key), skName: str(sortKey)}
}

func str(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

// text returns an attribute that is a string, and "" for any other.
func text(item map[string]types.AttributeValue, name string) string {
	if s, ok := item[name].(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}
