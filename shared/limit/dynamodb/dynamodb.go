// Package dynamodb keeps counters in a table of DynamoDB, which may be that of the control state: the keys of counters begin with
// another word, and roles are granted by it.
//
// Each delta is one UpdateItem that adds. The SDK repeats a call whose answer was lost, and then the delta is counted twice:
// a caller is refused early rather than late. DynamoDB deletes what has expired within days after; keys name their window, so
// that nothing old is read.
package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/errgroup"

	"github.com/llm-reliability/control-plane/shared/limit"
)

// The keys and attributes on the wire. Roles and the table's time to live rest on them.
const (
	partitionPrefix = "limit#"
	requestsName    = "requests"
	tokensName      = "tokens"
	nanoName        = "nanousd"
	expiresName     = "expires"
)

// update adds, and says when DynamoDB may delete the item, in seconds since 1970.
const update = "ADD #r :r, #t :t, #n :n SET #e = :e"

// Options say where the counters are.
type Options struct {
	// Client is required. Its retries and pauses should be those of the control state: see Configure there.
	Client *dynamodb.Client
	// Table is the name of the table, which exists and has the string keys pk and sk.
	Table string
}

// Counters are limit.Counters in one table.
type Counters struct{ opts Options }

var _ limit.Counters = (*Counters)(nil)

// New checks the options and returns Counters. It does not call DynamoDB.
func New(opts Options) (*Counters, error) {
	switch {
	case opts.Client == nil:
		return nil, errors.New("dynamodb: Client is required")
	case opts.Table == "":
		return nil, errors.New("dynamodb: Table is required")
	}
	return &Counters{opts}, nil
}

// Add implements limit.Counters. The deltas, of which there are few, are added at the same time.
func (c *Counters) Add(ctx context.Context, deltas []limit.Delta) ([]limit.Amounts, error) {
	sums := make([]limit.Amounts, len(deltas))
	var g errgroup.Group
	for i, d := range deltas {
		g.Go(func() (err error) { sums[i], err = c.add(ctx, d); return err })
	}
	if err := g.Wait(); err != nil {
		err = fmt.Errorf("add to counters in DynamoDB table %q of region %q: %w", c.opts.Table, c.opts.Client.Options().Region, err)
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return nil, err
	}
	return sums, nil
}

func (c *Counters) add(ctx context.Context, d limit.Delta) (limit.Amounts, error) {
	key := map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: partitionPrefix + d.Key.Caller}, "sk": &types.AttributeValueMemberS{Value: d.Key.Window},
	}
	if d.Add == (limit.Amounts{}) {
		out, err := c.opts.Client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &c.opts.Table, Key: key, ConsistentRead: aws.Bool(true)})
		if err != nil {
			return limit.Amounts{}, err
		}
		return amounts(out.Item)
	}
	out, err := c.opts.Client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &c.opts.Table, Key: key, UpdateExpression: aws.String(update), ReturnValues: types.ReturnValueAllNew,
		ExpressionAttributeNames: map[string]string{"#r": requestsName, "#t": tokensName, "#n": nanoName, "#e": expiresName},
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":r": number(d.Add.Requests), ":t": number(d.Add.Tokens), ":n": number(d.Add.NanoUSD), ":e": number(d.Expires.Add(time.Second - 1).Unix()),
		},
	})
	if err != nil {
		return limit.Amounts{}, err
	}
	return amounts(out.Attributes)
}

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

// amounts reads an item; what is not there is 0.
func amounts(item map[string]types.AttributeValue) (a limit.Amounts, err error) {
	var errs []error
	read := func(name string) int64 {
		v, ok := item[name].(*types.AttributeValueMemberN)
		if !ok {
			return 0
		}
		n, err := strconv.ParseInt(v.Value, 10, 64)
		if err != nil {
			errs = append(errs, fmt.Errorf("attribute %q: %w", name, err))
		}
		return n
	}
	a = limit.Amounts{Requests: read(requestsName), Tokens: read(tokensName), NanoUSD: read(nanoName)}
	return a, errors.Join(errs...)
}
