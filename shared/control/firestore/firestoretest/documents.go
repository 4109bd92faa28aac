package firestoretest

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Firestore's limits, in bytes.
const (
	maxID       = 1500
	maxDocument = 1 << 20
	maxRequest  = 10 << 20
)

const root = Database + "/documents/"

// documents are those of the database, by full name. A document in the map is never changed, only replaced.
type documents struct {
	mu     sync.Mutex
	byName map[string]*pb.Document
	clock  time.Time
}

// tick is the current time in microseconds, later than every time before. The caller holds the lock.
func (d *documents) tick() *timestamppb.Timestamp {
	now := time.Now().Truncate(time.Microsecond)
	if !now.After(d.clock) {
		now = d.clock.Add(time.Microsecond)
	}
	d.clock = now
	return timestamppb.New(now)
}

func (d *documents) all() map[string]*pb.Document {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[string]*pb.Document{}
	for name, doc := range d.byName {
		out[strings.TrimPrefix(name, root)] = proto.CloneOf(doc)
	}
	return out
}

// get returns nil for what is missing.
func (d *documents) get(names []string) ([]*pb.Document, *timestamppb.Timestamp) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []*pb.Document
	for _, name := range names {
		found = append(found, d.byName[name])
	}
	return found, d.tick()
}

func (d *documents) query(collection string, where *pb.StructuredQuery_Filter) ([]*pb.Document, *timestamppb.Timestamp, error) {
	filter := where.GetFieldFilter()
	_, ofTime := filter.GetValue().GetValueType().(*pb.Value_TimestampValue)
	compared := comparisons[filter.GetOp()]
	if where != nil && (!ofTime || compared == nil) {
		return nil, nil, status.Error(codes.Unimplemented, "only one comparison is implemented, of a field with a timestamp")
	}
	field := filter.GetField().GetFieldPath()
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []*pb.Document
	for name, doc := range d.byName {
		id, ok := strings.CutPrefix(name, collection+"/")
		if !ok || strings.Contains(id, "/") {
			continue
		}
		if where != nil {
			// A document without the field is in no index of it, and other types are not compared with a timestamp.
			value := doc.Fields[field]
			if _, ofTime := value.GetValueType().(*pb.Value_TimestampValue); !ofTime || !compared(instant(value).Compare(instant(filter.Value))) {
				continue
			}
		}
		found = append(found, doc)
	}
	slices.SortFunc(found, func(a, b *pb.Document) int {
		return cmp.Or(instant(a.Fields[field]).Compare(instant(b.Fields[field])), cmp.Compare(a.Name, b.Name))
	})
	return found, d.tick(), nil
}

// comparisons say whether the order of a field and a value is what a query asks for.
var comparisons = map[pb.StructuredQuery_FieldFilter_Operator]func(order int) bool{
	pb.StructuredQuery_FieldFilter_GREATER_THAN_OR_EQUAL: func(order int) bool { return order >= 0 },
	pb.StructuredQuery_FieldFilter_GREATER_THAN:          func(order int) bool { return order > 0 },
	pb.StructuredQuery_FieldFilter_LESS_THAN_OR_EQUAL:    func(order int) bool { return order <= 0 },
	pb.StructuredQuery_FieldFilter_LESS_THAN:             func(order int) bool { return order < 0 },
	pb.StructuredQuery_FieldFilter_EQUAL:                 func(order int) bool { return order == 0 },
}

func instant(v *pb.Value) time.Time {
	return v.GetTimestampValue().AsTime().Truncate(time.Microsecond)
}

func (d *documents) commit(req *pb.CommitRequest) (*pb.CommitResponse, error) {
	if size := proto.Size(req); size > maxRequest {
		return nil, status.Errorf(codes.InvalidArgument, "Request payload size exceeds the limit: %d bytes.", maxRequest)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	at, next := d.tick(), maps.Clone(d.byName)
	if next == nil {
		next = map[string]*pb.Document{}
	}
	answer := &pb.CommitResponse{CommitTime: at}
	for _, w := range req.Writes {
		updated, err := write(next, w, at)
		if err != nil {
			return nil, err
		}
		answer.WriteResults = append(answer.WriteResults, &pb.WriteResult{UpdateTime: updated})
	}
	d.byName = next
	return answer, nil
}

// write makes one write, and returns the document's time of update afterwards.
func write(docs map[string]*pb.Document, w *pb.Write, at *timestamppb.Timestamp) (*timestamppb.Timestamp, error) {
	doc := w.GetUpdate()
	if doc == nil && w.GetDelete() == "" || len(w.UpdateTransforms) > 0 {
		return nil, status.Error(codes.Unimplemented, "only writes and deletes of documents are implemented")
	}
	name := cmp.Or(doc.GetName(), w.GetDelete())
	if err := valid(name); err != nil {
		return nil, err
	}
	old := docs[name]
	if err := holds(w.CurrentDocument, name, old); err != nil {
		return nil, err
	}
	if doc == nil {
		delete(docs, name)
		return nil, nil
	}
	stored := &pb.Document{Name: name, CreateTime: at, UpdateTime: at, Fields: map[string]*pb.Value{}}
	if w.UpdateMask != nil { // only the fields in it change, or go if they have no value
		maps.Copy(stored.Fields, old.GetFields())
		for _, field := range w.UpdateMask.FieldPaths {
			if strings.ContainsAny(field, ".`") {
				return nil, status.Error(codes.Unimplemented, "only fields of the document are updated, not those of maps")
			}
			delete(stored.Fields, field)
		}
	}
	for field, value := range doc.Fields {
		value = proto.CloneOf(value)
		if t := value.GetTimestampValue(); t != nil {
			t.Nanos -= t.Nanos % 1000
		}
		stored.Fields[field] = value
	}
	if size := documentSize(stored); size > maxDocument {
		return nil, status.Errorf(codes.InvalidArgument, "Document '%s' cannot be written because its size (%d bytes) exceeds the maximum allowed size of %d bytes.", name, size, maxDocument)
	}
	if old != nil {
		stored.CreateTime = old.CreateTime
		if proto.Equal(&pb.Document{Fields: old.Fields}, &pb.Document{Fields: stored.Fields}) {
			stored.UpdateTime = old.UpdateTime
		}
	}
	docs[name] = stored
	return stored.UpdateTime, nil
}

// holds checks a precondition.
func holds(p *pb.Precondition, name string, doc *pb.Document) error {
	switch c := p.GetConditionType().(type) {
	case *pb.Precondition_Exists:
		if c.Exists && doc == nil {
			return status.Errorf(codes.NotFound, "No document to update: %s", name)
		}
		if !c.Exists && doc != nil {
			return status.Errorf(codes.AlreadyExists, "Document already exists: %s", name)
		}
	case *pb.Precondition_UpdateTime:
		if doc == nil || !proto.Equal(c.UpdateTime, doc.UpdateTime) {
			return status.Errorf(codes.FailedPrecondition, "the stored version of %s does not match the required base version", name)
		}
	}
	return nil
}

var reserved = regexp.MustCompile(`^__.*__$`)

// valid checks a document's name: collections and documents by turns, none of them named as Firestore forbids.
func valid(name string) error {
	rest, ok := strings.CutPrefix(name, root)
	ids := strings.Split(rest, "/")
	if !ok || len(ids)%2 != 0 {
		return status.Errorf(codes.InvalidArgument, "%q is not the name of a document", name)
	}
	for _, id := range ids {
		if id == "" || id == "." || id == ".." || len(id) > maxID || reserved.MatchString(id) {
			return status.Errorf(codes.InvalidArgument, "%q is reserved, empty or too long", id)
		}
	}
	return nil
}

// documentSize is what Firestore counts for a document: its name, its fields with their names, and what comes with each.
func documentSize(doc *pb.Document) int {
	size := 16 + 32
	for id := range strings.SplitSeq(strings.TrimPrefix(doc.Name, root), "/") {
		size += len(id) + 1
	}
	for field, value := range doc.Fields {
		size += len(field) + 1
		switch v := value.ValueType.(type) {
		case *pb.Value_StringValue:
			size += len(v.StringValue) + 1
		case *pb.Value_BytesValue:
			size += len(v.BytesValue)
		default: // numbers and times; other types are not written by the stores
			size += 8
		}
	}
	return size
}
