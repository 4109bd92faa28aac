package dynamodb

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/llm-reliability/control-plane/shared/control"
)

// The keys and attributes on the wire. Roles are granted by the partition, and the table's time to live names an
// attribute, so that none of these can change.
const (
	pkName, skName = "pk", "sk"
	partition      = "control"
	// headKey is the sort key of the head; an override is archived under idPrefix and under untilPrefix.
	headKey     = "head"
	idPrefix    = "id#"
	untilPrefix = "until#"

	// The head: its version, its horizon, and its overrides as a JSON array.
	versionName   = "version"
	horizonName   = "horizon"
	overridesName = "overrides"
	// An archived override: itself as JSON, and when DynamoDB may delete it, in seconds since 1970.
	overrideName = "override"
	expiresName  = "expires"
)

// item is one item of the table, or its key.
type item = map[string]types.AttributeValue

// head is the commit point. One that was read is never changed.
type head struct {
	version control.Version
	// horizon is the latest end of all that was archived: every override with a later end is in the head.
	horizon   time.Time
	overrides []control.Override
}

// state returns the state at this head. old is what was archived; where the head has a later version of it, that holds.
func (h *head) state(since time.Time, old []control.Override) control.State {
	state := control.State{Version: h.version}
	for _, o := range h.overrides {
		if o.Until().After(since) {
			state.Overrides = append(state.Overrides, copied(o))
		}
	}
	if len(old) == 0 {
		return state
	}
	known := map[string]bool{}
	for _, o := range h.overrides {
		known[o.ID] = true
	}
	for _, o := range old {
		if !known[o.ID] && o.Until().After(since) {
			state.Overrides = append(state.Overrides, o)
		}
	}
	return state
}

// after returns the overrides of the head with some written into it, and those that must leave it for the archive
// before: what ended long ago, and what ends first where the head would be too large.
func (h *head) after(written []control.Override, now time.Time) (next *head, leaving []control.Override, err error) {
	next = &head{horizon: h.horizon}
	size := 0
	add := func(o control.Override) error {
		encoded, err := json.Marshal(o)
		size += len(encoded) + len(",")
		return err
	}
	isNew := map[string]bool{}
	for _, o := range slices.Backward(written) {
		if isNew[o.ID] {
			continue // the last of several with one ID counts
		}
		isNew[o.ID] = true
		next.overrides = append(next.overrides, o)
		if err := add(o); err != nil {
			return nil, nil, fmt.Errorf("override %s: %w", o.ID, err)
		}
	}
	if size > maxHeadBytes {
		return nil, nil, fmt.Errorf("%d overrides at once are %d bytes, of which an item holds %d", len(next.overrides), size, maxHeadBytes)
	}
	old := slices.DeleteFunc(slices.Clone(h.overrides), func(o control.Override) bool { return isNew[o.ID] })
	slices.SortFunc(old, func(a, b control.Override) int { return b.Until().Compare(a.Until()) })
	for i, o := range old {
		if err := add(o); err != nil {
			return nil, nil, fmt.Errorf("override %s: %w", o.ID, err)
		}
		if size > headBytes || !o.Until().After(now.Add(-lately)) {
			leaving = old[i:]
			if until := o.Until(); until.After(next.horizon) {
				next.horizon = until
			}
			break
		}
		next.overrides = append(next.overrides, o)
	}
	return next, leaving, nil
}

// nextVersion counts a version up. The nonce makes it another than any of a table that was restored or made anew, which
// an instance could take for the one that it knows. The count is for people.
func nextVersion(v control.Version, nonce string) control.Version {
	count, _, _ := strings.Cut(string(v), "-")
	n, err := strconv.ParseUint(count, 10, 64)
	if err != nil {
		n = 0 // someone edited the item
	}
	return control.Version(strconv.FormatUint(n+1, 10) + "-" + nonce)
}

// noVersion is the version of an empty table.
const noVersion control.Version = "0"

// condition is an expression that holds while the head has a version.
type condition struct {
	expression string
	names      map[string]string
	values     item
}

func unchanged(v control.Version) condition {
	if v == noVersion {
		return condition{expression: "attribute_not_exists(#pk)", names: map[string]string{"#pk": pkName}}
	}
	return condition{"#version = :version", map[string]string{"#version": versionName}, item{":version": str(string(v))}}
}

func encodeHead(h *head) (item, error) {
	encoded, err := json.Marshal(append([]control.Override{}, h.overrides...)) // never null
	if err != nil {
		return nil, err
	}
	out := key(headKey)
	out[versionName], out[horizonName], out[overridesName] = str(string(h.version)), str(sortable(h.horizon)), str(string(encoded))
	return out, nil
}

// decodeHead reads the head; of an empty table, the item is nil.
func decodeHead(in item) (*head, error) {
	if in == nil {
		return &head{version: noVersion}, nil
	}
	h := &head{version: control.Version(text(in, versionName))}
	var err error
	if h.horizon, err = time.Parse(timeLayout, text(in, horizonName)); err != nil {
		return nil, fmt.Errorf("item %q, attribute %q: %w", headKey, horizonName, err)
	}
	if err := json.Unmarshal([]byte(text(in, overridesName)), &h.overrides); err != nil {
		return nil, fmt.Errorf("item %q, attribute %q: %w", headKey, overridesName, err)
	}
	return h, nil
}

func encodeArchived(sk string, o control.Override, retention time.Duration) (item, error) {
	encoded, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("override %s: %w", o.ID, err)
	}
	// Rounded up: nothing is deleted before its time.
	expires := o.Until().Add(retention + time.Second - 1).Unix()
	out := key(sk)
	out[overrideName], out[expiresName] = str(string(encoded)), &types.AttributeValueMemberN{Value: strconv.FormatInt(expires, 10)}
	return out, nil
}

func decodeArchived(in item) (control.Override, error) {
	var o control.Override
	if err := json.Unmarshal([]byte(text(in, overrideName)), &o); err != nil {
		return o, fmt.Errorf("item %q, attribute %q: %w", text(in, skName), overrideName, err)
	}
	return o, nil
}

func key(sk string) item { return item{pkName: str(partition), skName: str(sk)} }

func idKey(id string) string { return idPrefix + id }

// untilKey orders archived overrides by their end; the ID keeps those apart that end together.
func untilKey(o control.Override) string { return untilPrefix + sortable(o.Until()) + "#" + o.ID }

const timeLayout = "2006-01-02T15:04:05.000000000Z"

var (
	firstTime = time.Time{}
	lastTime  = time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
)

// sortable writes a time so that texts order as times do, within the years that have four digits. What is beyond counts
// as the first or the last of them: such a key only says where to look, and the override itself is judged by its end.
func sortable(t time.Time) string {
	t = t.UTC()
	if t.Before(firstTime) {
		t = firstTime
	}
	if t.After(lastTime) {
		t = lastTime
	}
	return t.Format(timeLayout)
}

func str(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

// text returns an attribute that is a string, and "" for any other.
func text(in item, name string) string {
	if s, ok := in[name].(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

// copied keeps callers from changing the head that the store holds.
func copied(o control.Override) control.Override {
	if o.Ended != nil {
		ended := *o.Ended
		o.Ended = &ended
	}
	return o
}
