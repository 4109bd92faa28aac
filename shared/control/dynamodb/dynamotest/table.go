// Package dynamotest is a stand-in for DynamoDB: one table in memory that speaks the protocol of the real SDK, as far as
// the control state and the shared cache use it. It has what the emulator dynalite lacks: transactions with their tokens,
// conflicts, limits, reads that are not isolated from a transaction under way, reads that are behind unless they ask not
// to be, and faults on demand.
//
// It knows the few expressions that are used here, and refuses others. Signatures and permissions are not checked.
package dynamotest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The limits of DynamoDB.
const (
	maxItem         = 400 << 10
	maxTransaction  = 4 << 20
	maxTransactions = 100
	maxPage         = 1 << 20
)

// Item is one item in the form of the wire: {"pk": {"S": "control"}}.
type Item map[string]map[string]any

// Request is one request that came.
type Request struct {
	// Operation is its name, such as GetItem.
	Operation string
	Body      string
}

// Table is one table with the string keys pk and sk. It is an http.Handler. Fields are set before it is used.
type Table struct {
	// Name is the table; for any other name there is none.
	Name string
	// PageBytes is how much a Query reads at once; 1 MiB when 0, as DynamoDB does.
	PageBytes int
	// Intercept, when set, is given every request. It calls serve to have it answered, or doesn't.
	Intercept func(w http.ResponseWriter, r *http.Request, operation string, serve func(http.ResponseWriter))
	// Between, when set, is called inside of a transaction, after each write but the last.
	Between func()

	mu       sync.Mutex
	items    map[string]Item
	behind   map[string]Item // what each item was before it was written last
	busy     map[string]bool // what a transaction under way writes or checks
	tokens   map[string]string
	requests []Request
}

// Requests returns what has come so far.
func (t *Table) Requests() []Request {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.requests)
}

// Items returns the table in order.
func (t *Table) Items() []Item {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Item
	for _, k := range slices.Sorted(maps.Keys(t.items)) {
		out = append(out, t.items[k])
	}
	return out
}

// Expire deletes what has expired at now, as DynamoDB does some time within days after. Only a number counts.
func (t *Table) Expire(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.items, func(_ string, item Item) bool {
		n, ok := item["expires"]["N"].(string)
		seconds, err := strconv.ParseInt(n, 10, 64)
		return ok && err == nil && seconds < now.Unix()
	})
}

// Clear deletes everything, as if the table had been made anew.
func (t *Table) Clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.items)
	clear(t.behind)
	clear(t.tokens)
}

// ServeHTTP implements http.Handler.
func (t *Table) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller went away
	}
	operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
	t.mu.Lock()
	t.requests = append(t.requests, Request{operation, string(body)})
	t.mu.Unlock()
	serve := func(w http.ResponseWriter) {
		out, err := t.do(operation, body)
		respond(w, out, err)
	}
	if t.Intercept != nil {
		t.Intercept(w, r, operation, serve)
		return
	}
	serve(w)
}

// request is what the operations are sent, together.
type request struct {
	TableName                 string
	Key, Item                 Item
	ConsistentRead            bool
	ProjectionExpression      string
	KeyConditionExpression    string
	ConditionExpression       string
	UpdateExpression          string
	ReturnValues              string
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues Item
	ExclusiveStartKey         Item
	ClientRequestToken        string
	TransactItems             []map[string]*request
}

// fault is an error of the protocol.
type fault struct {
	Type    string   `json:"__type"`
	Message string   `json:"message"`
	Reasons []reason `json:"CancellationReasons,omitempty"`
}

type reason struct {
	Code    string
	Message string `json:",omitempty"`
}

// Error says what the fault is.
func (f *fault) Error() string { return f.Type + ": " + f.Message }

func invalid(format string, args ...any) *fault {
	return &fault{Type: "com.amazon.coral.validate#ValidationException", Message: fmt.Sprintf(format, args...)}
}

const (
	targetPrefix = "DynamoDB_20120810."
	typePrefix   = "com.amazonaws.dynamodb.v20120810#"
)

// Fail answers with an error of DynamoDB, such as 400 and ThrottlingException.
func Fail(w http.ResponseWriter, status int, code, message string) {
	write(w, status, &fault{Type: typePrefix + code, Message: message})
}

// Cancel answers that a transaction was canceled, with a reason for each of its items, such as None and ThrottlingError.
func Cancel(w http.ResponseWriter, codes ...string) {
	var reasons []reason
	for _, code := range codes {
		reasons = append(reasons, reason{Code: code})
	}
	write(w, http.StatusBadRequest, canceled(reasons))
}

func respond(w http.ResponseWriter, out any, f *fault) {
	if f != nil {
		write(w, http.StatusBadRequest, f)
		return
	}
	write(w, http.StatusOK, out)
}

func write(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // never: maps of strings
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func (t *Table) do(operation string, body []byte) (any, *fault) {
	var req request
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, &fault{Type: "com.amazon.coral.service#SerializationException", Message: err.Error()}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.items == nil {
		t.items, t.behind, t.busy, t.tokens = map[string]Item{}, map[string]Item{}, map[string]bool{}, map[string]string{}
	}
	if operation == "TransactWriteItems" {
		return t.transact(&req, body)
	}
	if req.TableName != t.Name {
		return nil, noTable()
	}
	switch operation {
	case "GetItem":
		k, f := keyOf(req.Key)
		if f != nil {
			return nil, f
		}
		return map[string]any{"Item": project(t.read(k, req.ConsistentRead), req.ProjectionExpression)}, nil
	case "PutItem":
		k, f := writable(req.Item)
		switch {
		case f != nil:
			return nil, f
		case t.busy[k]:
			return nil, &fault{Type: typePrefix + "TransactionConflictException", Message: "Transaction is ongoing for the item"}
		}
		switch ok, f := req.holds(t.items[k]); {
		case f != nil:
			return nil, f
		case !ok:
			return nil, &fault{Type: typePrefix + "ConditionalCheckFailedException", Message: "The conditional request failed"}
		}
		t.put(k, req.Item)
		return map[string]any{}, nil
	case "UpdateItem":
		return t.update(&req)
	case "DeleteItem":
		k, f := keyOf(req.Key)
		if f != nil {
			return nil, f
		}
		t.put(k, nil)
		return map[string]any{}, nil
	case "Query":
		return t.query(&req)
	}
	return nil, &fault{Type: "com.amazon.coral.service#UnknownOperationException", Message: operation}
}

func noTable() *fault {
	return &fault{Type: typePrefix + "ResourceNotFoundException", Message: "Requested resource not found"}
}

// read returns an item, or what it was before when the reader does not ask for more.
func (t *Table) read(k string, consistent bool) Item {
	if before, written := t.behind[k]; written && !consistent {
		return before
	}
	return t.items[k]
}

// put writes an item, or deletes it when it is nil.
func (t *Table) put(k string, item Item) {
	t.behind[k] = t.items[k]
	if item == nil {
		delete(t.items, k)
		return
	}
	t.items[k] = item
}

// update knows the one expression that is used: three numbers to add, and one to set.
func (t *Table) update(req *request) (any, *fault) {
	if req.UpdateExpression != "ADD #r :r, #t :t, #n :n SET #e = :e" || req.ReturnValues != "ALL_NEW" || req.ConditionExpression != "" {
		return nil, invalid("the stand-in does not know this update: %s", req.UpdateExpression)
	}
	k, f := keyOf(req.Key)
	switch {
	case f != nil:
		return nil, f
	case t.busy[k]:
		return nil, &fault{Type: typePrefix + "TransactionConflictException", Message: "Transaction is ongoing for the item"}
	}
	item := maps.Clone(req.Key)
	maps.Copy(item, t.items[k])
	for _, letter := range []string{"r", "t", "n", "e"} {
		name, value := req.ExpressionAttributeNames["#"+letter], req.ExpressionAttributeValues[":"+letter]
		add, ok := value["N"].(string)
		n, err := strconv.ParseInt(add, 10, 64)
		if name == "" || !ok || err != nil {
			return nil, invalid("Invalid UpdateExpression: an expression attribute name or number used in expression is not defined: %s", letter)
		}
		if before, ok := item[name]["N"].(string); ok && letter != "e" {
			was, err := strconv.ParseInt(before, 10, 64)
			if err != nil {
				return nil, invalid("An operand in the update expression has an incorrect data type")
			}
			n += was
		}
		item[name] = map[string]any{"N": strconv.FormatInt(n, 10)}
	}
	t.put(k, item)
	return map[string]any{"Attributes": item}, nil
}

// query knows the one condition that is used.
func (t *Table) query(req *request) (any, *fault) {
	if req.KeyConditionExpression != "#pk = :pk AND #sk BETWEEN :since AND :end" || req.ExpressionAttributeNames["#pk"] != "pk" ||
		req.ExpressionAttributeNames["#sk"] != "sk" || len(req.ExpressionAttributeValues) != 3 {
		return nil, invalid("the stand-in does not know this condition: %s", req.KeyConditionExpression)
	}
	value := func(name string) string { return text(req.ExpressionAttributeValues, name) }
	prefix := value(":pk") + "\x00"
	from, to := prefix+value(":since"), prefix+value(":end")
	if from > to {
		return nil, invalid("The BETWEEN operator requires upper bound to be greater than or equal to lower bound")
	}
	after := ""
	if req.ExclusiveStartKey != nil {
		k, f := keyOf(req.ExclusiveStartKey)
		if f != nil {
			return nil, f
		}
		after = k
	}
	page, size := []Item{}, 0
	for _, k := range slices.Sorted(maps.Keys(t.items)) {
		if k < from || k > to || k <= after {
			continue
		}
		item := t.read(k, req.ConsistentRead)
		page = append(page, item)
		if size += sizeOf(item); size >= cmp.Or(t.PageBytes, maxPage) {
			return map[string]any{"Items": page, "Count": len(page), "LastEvaluatedKey": Item{"pk": item["pk"], "sk": item["sk"]}}, nil
		}
	}
	return map[string]any{"Items": page, "Count": len(page)}, nil
}

// keyOf reads a key: exactly the two strings, not empty and not longer than DynamoDB allows.
func keyOf(key Item) (string, *fault) {
	if len(key) != 2 {
		return "", invalid("The provided key element does not match the schema")
	}
	return writableKey(key)
}

func writableKey(item Item) (string, *fault) {
	for name, most := range map[string]int{"pk": 2048, "sk": 1024} {
		s, ok := item[name]["S"].(string)
		if !ok {
			return "", invalid("One or more parameter values were invalid: Missing the key %s in the item", name)
		}
		if s == "" || len(s) > most {
			return "", invalid("One or more parameter values were invalid: the size of the key %s is not 1 to %d bytes", name, most)
		}
	}
	return text(item, "pk") + "\x00" + text(item, "sk"), nil
}

// writable returns the key of an item that can be written.
func writable(item Item) (string, *fault) {
	k, f := writableKey(item)
	if f == nil && sizeOf(item) > maxItem {
		f = invalid("Item size has exceeded the maximum allowed size")
	}
	return k, f
}

// sizeOf is what DynamoDB counts: names and values, numbers by their digits, roughly.
func sizeOf(item Item) int {
	size := 0
	for name, value := range item {
		size += len(name)
		for kind, v := range value {
			if s, ok := v.(string); ok && kind == "N" {
				size += len(s)/2 + 1
			} else if ok {
				size += len(s)
			}
		}
	}
	return size
}

func text(item Item, name string) string {
	s, _ := item[name]["S"].(string)
	return s
}

// project knows lists of names.
func project(item Item, expression string) Item {
	if item == nil || expression == "" {
		return item
	}
	out := Item{}
	for name := range strings.SplitSeq(expression, ",") {
		if v, ok := item[strings.TrimSpace(name)]; ok {
			out[strings.TrimSpace(name)] = v
		}
	}
	return out
}
