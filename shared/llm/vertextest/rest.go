package vertextest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"cloud.google.com/go/aiplatform/apiv1beta1/aiplatformpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
)

// route is the path of a call.
var route = regexp.MustCompile(`^/v1(?:beta1)?/(projects/[^/]+/locations/[^/]+/publishers/google/models/[^/:]+):(generateContent|streamGenerateContent)$`)

// ServeHTTP is the REST face of a server.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	body, err := io.ReadAll(hr.Body) // only then does the server notice that a client goes away
	if err != nil {
		return
	}
	if hr.URL.Path == "/token" { // of oauth2.googleapis.com, through a Tunnel
		w.Header().Set("Content-Type", "application/json")
		write(w, `{"access_token":"the-token","token_type":"Bearer","expires_in":3600}`)
		return
	}
	path := route.FindStringSubmatch(hr.URL.Path)
	if path == nil || hr.Method != http.MethodPost {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	r := &Request{Transport: "rest", Stream: path[2] == "streamGenerateContent", Authorization: hr.Header.Get("Authorization")}
	form := newForm(hr, r.Stream)
	var m aiplatformpb.GenerateContentRequest
	if err := protojson.Unmarshal(body, &m); err != nil {
		form.fail(w, &Error{Code: codes.InvalidArgument, Message: "Invalid JSON payload received. " + err.Error()})
		return
	}
	m.Model = path[1]
	end, err := s.begin(hr.Context(), r, &m)
	if err != nil {
		form.fail(w, &Error{Code: codes.InvalidArgument, Message: err.Error()})
		return
	}
	defer end()
	if e := refuse(r); e != nil {
		form.fail(w, e)
		return
	}
	s.respond(hr.Context(), w, r, s.reply(r), form)
}

// respond sends a reply.
func (s *Server) respond(ctx context.Context, w http.ResponseWriter, r *Request, reply Reply, form form) {
	if !pause(ctx, reply.Delay) {
		return
	}
	pieces := reply.Pieces
	if !r.Stream {
		pieces = nil
	}
	switch {
	case reply.Raw != nil:
		w.Header().Set("Content-Type", reply.Raw.ContentType)
		if reply.Raw.Location != "" {
			w.Header().Set("Location", reply.Raw.Location)
		}
		if reply.Raw.Status != 0 {
			w.WriteHeader(reply.Raw.Status)
		}
		write(w, reply.Raw.Body)
	case reply.Error != nil && len(pieces) == 0:
		form.fail(w, reply.Error)
		return
	case len(pieces) > 0 || reply.Headers:
		w.Header().Set("Content-Type", form.contentType)
		write(w, form.open)
	}
	for i, p := range pieces {
		if i > 0 && !pause(ctx, reply.Gap) {
			return
		}
		write(w, form.element(i, form.message(p.message(r))))
	}
	switch {
	case reply.Cut:
		panic(http.ErrAbortHandler)
	case reply.Hang:
		<-ctx.Done()
		return
	case reply.Error != nil:
		write(w, form.element(len(pieces), reply.Error.json()))
	case !r.Stream && reply.Raw == nil:
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		write(w, form.message(whole(reply.Pieces).message(r)))
	}
	if reply.Raw == nil {
		write(w, form.end)
	}
}

func write(w http.ResponseWriter, text string) {
	_, _ = io.WriteString(w, text) // the client may be gone, and the test sees what it got
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

// form is how a response is written: as the client asked for it.
type form struct {
	contentType, open, end string
	// element frames the i-th message of a stream.
	element func(i int, message string) string
	// numbers is whether enums are written as numbers, array whether errors stand in one.
	numbers, array bool
}

// newForm reads the system parameters of a request. Streams are arrays unless events are asked for.
func newForm(hr *http.Request, stream bool) form {
	q := hr.URL.Query()
	alt := q.Get("$alt")
	if alt == "" {
		alt = q.Get("alt")
	}
	f := form{numbers: strings.Contains(alt, "enum-encoding=int"), element: func(_ int, m string) string { return m }}
	switch {
	case !stream:
	case alt == "sse":
		f.contentType = "text/event-stream"
		f.element = func(_ int, m string) string { return "data: " + m + "\r\n\r\n" }
	default:
		f.contentType, f.open, f.end, f.array = "application/json; charset=UTF-8", "[", "]", true
		f.element = func(i int, m string) string {
			if i > 0 {
				return ",\r\n" + m
			}
			return m
		}
	}
	return f
}

// message writes a message.
func (f form) message(m *aiplatformpb.GenerateContentResponse) string {
	text, err := protojson.MarshalOptions{UseEnumNumbers: f.numbers}.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("write a message of our own: %v", err)) // a script with text that is no UTF-8
	}
	return string(text)
}

// fail sends an error instead of a response.
func (f form) fail(w http.ResponseWriter, e *Error) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(e.http())
	if f.array {
		write(w, "["+e.json()+"]")
		return
	}
	write(w, e.json())
}

// http is the status that goes with a code.
func (e *Error) http() int {
	switch e.Code {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return http.StatusBadRequest
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.NotFound:
		return http.StatusNotFound
	case codes.Aborted, codes.AlreadyExists:
		return http.StatusConflict
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Canceled:
		return 499
	case codes.Unimplemented:
		return http.StatusNotImplemented
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// json is an error in Google's JSON form.
func (e *Error) json() string {
	inner := map[string]any{"code": e.http(), "message": e.Message, "status": codeName(e.Code)}
	var details []any
	if e.Reason != "" {
		details = append(details, map[string]any{
			"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": e.Reason, "domain": "aiplatform.googleapis.com",
		})
	}
	if e.RetryAfter != 0 {
		seconds := strconv.FormatFloat(e.RetryAfter.Seconds(), 'f', -1, 64)
		details = append(details, map[string]any{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": seconds + "s"})
	}
	if details != nil {
		inner["details"] = details
	}
	text, err := json.Marshal(map[string]any{"error": inner})
	if err != nil {
		panic(fmt.Sprintf("write an error of our own: %v", err)) // strings and numbers can be written
	}
	return string(text)
}

// codeName is a code as Google's JSON has it: INVALID_ARGUMENT for InvalidArgument.
func codeName(c codes.Code) string {
	if c == codes.Canceled {
		return "CANCELLED"
	}
	var b strings.Builder
	for i, r := range c.String() {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}
