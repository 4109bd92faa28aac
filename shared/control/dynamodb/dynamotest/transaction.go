package dynamotest

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// action is one write or check of a transaction.
type action struct {
	kind string // Put, Delete or ConditionCheck
	key  string
	req  *request
}

// actions checks the form of a transaction as DynamoDB does before it begins.
func (req *request) actions(table string) ([]action, *fault) {
	if n := len(req.TransactItems); n == 0 || n > maxTransactions {
		return nil, invalid("Member must have length less than or equal to %d, and greater than 0", maxTransactions)
	}
	var out []action
	size := 0
	for _, one := range req.TransactItems {
		if len(one) != 1 {
			return nil, invalid("TransactItems can only contain one of Check, Put, Update or Delete")
		}
		for kind, r := range one {
			var k string
			var f *fault
			switch kind {
			case "Put":
				size += sizeOf(r.Item)
				k, f = writable(r.Item)
			case "Delete", "ConditionCheck":
				k, f = keyOf(r.Key)
			default:
				f = invalid("the stand-in does not know %s", kind)
			}
			if f == nil && r.TableName != table {
				f = noTable()
			}
			if f != nil {
				return nil, f
			}
			if slices.ContainsFunc(out, func(a action) bool { return a.key == k }) {
				return nil, invalid("Transaction request cannot include multiple operations on one item")
			}
			out = append(out, action{kind, k, r})
		}
	}
	if size > maxTransaction {
		return nil, invalid("Collection size exceeded: the transaction is larger than %d bytes", maxTransaction)
	}
	return out, nil
}

// holds evaluates the conditions that are used.
func (req *request) holds(item Item) (bool, *fault) {
	names, values := req.ExpressionAttributeNames, req.ExpressionAttributeValues
	unknown := invalid("the stand-in does not know this condition: %s", req.ConditionExpression)
	name, value, equals := strings.Cut(req.ConditionExpression, " = ")
	switch {
	case req.ConditionExpression == "":
		return true, nil
	case equals && len(names) == 1 && len(values) == 1 && names[name] != "" && values[value] != nil:
		return reflect.DeepEqual(item[names[name]], values[value]), nil
	case !equals && len(names) == 1 && len(values) == 0:
		for short, full := range names {
			if req.ConditionExpression == "attribute_not_exists("+short+")" {
				_, exists := item[full]
				return !exists, nil
			}
		}
	}
	return false, unknown
}

// canceled is a transaction that was not made, with a reason for each of its items.
func canceled(reasons []reason) *fault {
	var codes []string
	for _, r := range reasons {
		codes = append(codes, r.Code)
	}
	return &fault{
		Type:    typePrefix + "TransactionCanceledException",
		Message: "Transaction cancelled, please refer cancellation reasons for specific reasons [" + strings.Join(codes, ", ") + "]",
		Reasons: reasons,
	}
}

// transact executes a transaction: its conditions are checked at once, and then its items are written one by one, in any
// order, while others read. The lock is held on entry and on return, and not in between.
func (t *Table) transact(req *request, body []byte) (any, *fault) {
	if made, ok := t.tokens[req.ClientRequestToken]; ok && req.ClientRequestToken != "" {
		if made != string(body) {
			return nil, &fault{Type: typePrefix + "IdempotentParameterMismatchException", Message: "The token was used with other parameters"}
		}
		return map[string]any{}, nil
	}
	actions, f := req.actions(t.Name)
	if f != nil {
		return nil, f
	}
	reasons, failed := make([]reason, len(actions)), false
	for i, a := range actions {
		reasons[i].Code = "None"
		ok, f := a.req.holds(t.items[a.key])
		switch {
		case f != nil:
			return nil, f
		case t.busy[a.key]:
			reasons[i], failed = reason{"TransactionConflict", "Transaction is ongoing for the item"}, true
		case !ok:
			reasons[i], failed = reason{"ConditionalCheckFailed", "The conditional request failed"}, true
		}
	}
	if failed {
		return nil, canceled(reasons)
	}
	for _, a := range actions {
		t.busy[a.key] = true
	}
	for i, n := range rand.Perm(len(actions)) { //nolint:gosec // any order will do
		if a := actions[n]; a.kind != "ConditionCheck" {
			t.put(a.key, a.req.Item)
		}
		if i < len(actions)-1 {
			t.mu.Unlock()
			if t.Between != nil {
				t.Between()
			}
			runtime.Gosched()
			t.mu.Lock()
		}
	}
	for _, a := range actions {
		delete(t.busy, a.key)
	}
	t.tokens[req.ClientRequestToken] = string(body)
	return map[string]any{}, nil
}

// WithTransactions returns an http.Handler that adds TransactWriteItems to an emulator which lacks it: it evaluates the
// conditions and has the emulator write the items one by one, under a lock. The emulator is given the conditions, too, so
// that it must agree. Everything else it is handed as it is. No read sees a transaction under way, as in DynamoDB it may.
func WithTransactions(emulator, table string) http.Handler {
	var mu sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the caller went away
		}
		do := func(operation string, body []byte) (int, http.Header, []byte) {
			status, header, answer, err := forward(r, emulator, operation, body)
			if err != nil {
				return http.StatusBadGateway, nil, []byte(err.Error())
			}
			return status, header, answer
		}
		if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".TransactWriteItems") {
			status, header, answer := do(strings.TrimPrefix(r.Header.Get("X-Amz-Target"), targetPrefix), body)
			maps.Copy(w.Header(), header)
			w.WriteHeader(status)
			_, _ = w.Write(answer)
			return
		}
		respond(w, map[string]any{}, relay(body, table, do))
	})
}

// forward calls an operation of the emulator in the name of r. The emulator wants a signature, but does not check it.
func forward(r *http.Request, emulator, operation string, body []byte) (status int, header http.Header, answer []byte, err error) {
	out, err := http.NewRequestWithContext(r.Context(), http.MethodPost, emulator, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	for _, name := range []string{"Authorization", "Content-Type", "X-Amz-Date"} {
		out.Header.Set(name, r.Header.Get(name))
	}
	out.Header.Set("X-Amz-Target", targetPrefix+operation)
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, answer, err
}

// relay executes a transaction by single calls of the emulator.
func relay(body []byte, table string, do func(operation string, body []byte) (int, http.Header, []byte)) *fault {
	call := func(operation string, in, out any) *fault {
		body, err := json.Marshal(in)
		if err != nil {
			return invalid("%v", err)
		}
		status, _, answer := do(operation, body)
		if status != http.StatusOK {
			return invalid("the emulator refused %s: %s", operation, answer)
		}
		if err := json.Unmarshal(answer, out); err != nil {
			return invalid("the emulator answered %s: %v", answer, err)
		}
		return nil
	}
	var req request
	if err := json.Unmarshal(body, &req); err != nil {
		return invalid("%v", err)
	}
	actions, f := req.actions(table)
	if f != nil {
		return f
	}
	reasons, failed := make([]reason, len(actions)), false
	for i, a := range actions {
		var found struct{ Item Item }
		pk, sk, _ := strings.Cut(a.key, "\x00")
		key := Item{"pk": {"S": pk}, "sk": {"S": sk}}
		if f := call("GetItem", map[string]any{"TableName": table, "Key": key, "ConsistentRead": true}, &found); f != nil {
			return f
		}
		ok, f := a.req.holds(found.Item)
		if f != nil {
			return f
		}
		reasons[i].Code = "None"
		if !ok {
			reasons[i], failed = reason{"ConditionalCheckFailed", "The conditional request failed"}, true
		}
	}
	if failed {
		return canceled(reasons)
	}
	for i, a := range actions {
		if a.kind == "ConditionCheck" {
			continue
		}
		if f := call(a.kind+"Item", req.raw(body, i, a.kind), &struct{}{}); f != nil {
			return f
		}
	}
	return nil
}

// raw returns one write of a transaction as it was sent.
func (req *request) raw(body []byte, i int, kind string) json.RawMessage {
	var sent struct {
		TransactItems []map[string]json.RawMessage
	}
	if err := json.Unmarshal(body, &sent); err != nil {
		panic(err) // never: it was read before
	}
	return sent.TransactItems[i][kind]
}
