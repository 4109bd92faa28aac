package firestore

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/firestore"

	"github.com/llm-reliability/control-plane/shared/control"
)

// The documents' IDs. The prefixes keep the kinds apart, and the IDs clear of those that Firestore forbids.
const (
	metaID         = "meta"
	afterPrefix    = "after."
	overridePrefix = "override."
)

// meta is the document of the version.
type meta struct {
	Version int64     `firestore:"version"`
	Until   time.Time `firestore:"until"`

	// updated is when the document was written, which no two states have in common, even if a backup was imported between.
	updated time.Time
}

// none is the version before the first commit.
const none control.Version = "0"

func (m meta) version() control.Version {
	if m.updated.IsZero() {
		return none
	}
	return control.Version(fmt.Sprintf("%d-%d", m.Version, m.updated.UnixNano()))
}

// parse is the inverse of version, for all versions but none.
func parse(v control.Version) (m meta, ok bool) {
	number, updated, _ := strings.Cut(string(v), "-")
	n, err := strconv.ParseInt(number, 10, 64)
	nanos, err2 := strconv.ParseInt(updated, 10, 64)
	m = meta{Version: n, updated: time.Unix(0, nanos)}
	return m, err == nil && err2 == nil && m.version() == v
}

// followed is the document of a commit.
type followed struct {
	Commit  string    `firestore:"commit"`
	Expires time.Time `firestore:"expires"`
}

// kept is the document of one override.
type kept struct {
	Override string    `firestore:"override"`
	Until    time.Time `firestore:"until"`
	Expires  time.Time `firestore:"expires"`
}

// The times that Firestore can hold. Meta holds until the last, a State asks for nothing later.
var (
	firstTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
)

// stored is a time as Firestore stores it: within its range, rounded down to microseconds.
func stored(t time.Time) time.Time {
	switch {
	case t.Before(firstTime):
		return firstTime
	case t.After(lastTime):
		return lastTime
	}
	return t.Truncate(time.Microsecond).UTC()
}

func read(doc *firestore.DocumentSnapshot, to any) error {
	if err := doc.DataTo(to); err != nil {
		return fmt.Errorf("document %s: %w", doc.Ref.ID, err)
	}
	return nil
}

func (k kept) decode(doc *firestore.DocumentSnapshot) (o control.Override, err error) {
	if err := json.Unmarshal([]byte(k.Override), &o); err != nil {
		return o, fmt.Errorf("document %s: %w", doc.Ref.ID, err)
	}
	return o, nil
}

// overrideID is the ID of an override's document: a slash would separate it from a collection below.
func overrideID(id string) string { return overridePrefix + url.PathEscape(id) }
