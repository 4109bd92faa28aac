package workflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/strictjson"
)

// Connection lends its base URL and credentials to HTTP steps. It is immutable.
type Connection struct {
	ID, Name string
	base     *url.URL
	headers  http.Header
	secrets  []string
}

var tokenName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)

// ParseConnection reads the body of a request that creates an action connection, with every placeholder resolved. Only
// HTTP with HTTPTokenAuth and headers is followed. Errors do not contain secrets.
func ParseConnection(id string, raw []byte) (*Connection, error) {
	var doc struct {
		Data struct {
			Type       string `json:"type"`
			Attributes struct {
				Name        string   `json:"name"`
				Tags        []string `json:"tags"`
				Integration struct {
					Type        string `json:"type"`
					BaseURL     string `json:"base_url"`
					Credentials struct {
						Type    string                               `json:"type"`
						Tokens  []struct{ Type, Name, Value string } `json:"tokens"`
						Headers []struct{ Name, Value string }       `json:"headers"`
					} `json:"credentials"`
				} `json:"integration"`
			} `json:"attributes"`
		} `json:"data"`
	}
	if err := strictjson.Decode(raw, &doc); err != nil {
		return nil, fmt.Errorf("parse connection: %w", err)
	}
	a := doc.Data.Attributes
	c := &Connection{ID: id, Name: a.Name, headers: http.Header{}}
	if doc.Data.Type != "action_connection" || a.Name == "" || a.Integration.Type != "HTTP" || a.Integration.Credentials.Type != "HTTPTokenAuth" {
		return nil, errors.New("parse connection: it is not a named action_connection of type HTTP with HTTPTokenAuth")
	}
	var err error
	if c.base, err = url.Parse(a.Integration.BaseURL); err != nil || c.base.Host == "" || c.base.Scheme != "http" && c.base.Scheme != "https" {
		return nil, fmt.Errorf("parse connection %q: the base URL is not one of http or https", a.Name)
	}
	tokens := map[string]any{}
	for _, t := range a.Integration.Credentials.Tokens {
		if t.Type != "SECRET" || !tokenName.MatchString(t.Name) || t.Value == "" {
			return nil, fmt.Errorf("parse connection %q: the token %q is not a SECRET with a name of letters and digits and a value", a.Name, t.Name)
		}
		tokens[t.Name] = t.Value
		c.secrets = append(c.secrets, t.Value)
	}
	for _, h := range a.Integration.Credentials.Headers {
		compiled, err := parseTemplate(h.Value)
		if err != nil {
			return nil, fmt.Errorf("parse connection %q: header %s: %w", a.Name, h.Name, err)
		}
		value, err := render(compiled, tokens)
		if err != nil {
			return nil, fmt.Errorf("parse connection %q: header %s: %w", a.Name, h.Name, err)
		}
		c.headers.Add(h.Name, inText(value))
	}
	return c, nil
}

// owns says whether a URL is at the connection's base URL: same scheme and host, path below.
func (c *Connection) owns(u *url.URL) bool {
	base := strings.TrimSuffix(c.base.Path, "/")
	return u.Scheme == c.base.Scheme && u.Host == c.base.Host && u.User == nil && (u.Path == base || strings.HasPrefix(u.Path, base+"/"))
}

const (
	requestTime = 30 * time.Second
	maxResponse = 15_000_000
)

var verbs = []string{"HEAD", "GET", "PUT", "POST", "DELETE", "PATCH"}

func checkHTTP(inputs map[string]any) error {
	if verb, ok := inputs["verb"].(string); ok && !slices.Contains(verbs, verb) {
		return fmt.Errorf("verb is %q, not one of %s", verb, strings.Join(verbs, ", "))
	}
	for _, name := range []string{"requestHeaders", "urlParams"} {
		items, _ := inputs[name].([]any)
		for i, item := range items {
			pair, ok := item.(map[string]any)
			if !ok || !slices.Equal(slices.Sorted(maps.Keys(pair)), []string{"key", "value"}) {
				return fmt.Errorf("%s: item %d has not just key and value", name, i)
			}
			if _, isList := pair["value"].([]any); isList != (name == "requestHeaders") {
				return fmt.Errorf("%s: item %d: the value of a header is a list, that of a URL parameter is not", name, i)
			}
		}
	}
	return nil
}

// runHTTP makes one request. Its output is there also when the status makes it an error.
func runHTTP(ctx context.Context, x *execution, s *step, in map[string]any) (map[string]any, string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	req, err := newRequest(ctx, in)
	if err != nil {
		return nil, "", err
	}
	if s.ConnectionLabel != "" {
		c, ok := x.env.Connection(x.w.connections[s.ConnectionLabel])
		if !ok {
			return nil, "", fmt.Errorf("the connection %s does not exist", s.ConnectionLabel)
		}
		if !c.owns(req.URL) {
			return nil, "", fmt.Errorf("the URL %s is not at the base URL of the connection %s", req.URL.Redacted(), s.ConnectionLabel)
		}
		x.secrets = append(x.secrets, c.secrets...)
		maps.Copy(req.Header, c.headers.Clone())
	}
	client := *x.env.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	what := req.Method + " " + req.URL.Path
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", what, err)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, "", fmt.Errorf("%s: read response: %w", what, err)
	}
	if len(raw) > maxResponse {
		return nil, "", fmt.Errorf("%s: the response has more than %d bytes", what, maxResponse)
	}
	body, err := decodeBody(resp, raw)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", what, err)
	}
	headers := map[string]any{}
	for name, values := range resp.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	output := map[string]any{"status": float64(resp.StatusCode), "body": body, "headers": headers}
	if resp.StatusCode >= http.StatusBadRequest {
		return output, "", fmt.Errorf("%s answered %d%s", what, resp.StatusCode, reason(body))
	}
	return output, mainBranch, nil
}

func newRequest(ctx context.Context, in map[string]any) (*http.Request, error) {
	u, err := url.Parse(inText(in["url"]))
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("the URL %q is not absolute", clip(inText(in["url"])))
	}
	query := u.Query()
	params, _ := in["urlParams"].([]any)
	for _, p := range params {
		pair, _ := p.(map[string]any)
		query.Add(inText(pair["key"]), inText(pair["value"]))
	}
	u.RawQuery = query.Encode()
	var body io.Reader = http.NoBody
	if v := in["body"]; v != nil {
		// A text is sent as it is, anything else as JSON.
		body = strings.NewReader(inText(v))
	}
	req, err := http.NewRequestWithContext(ctx, inText(in["verb"]), u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	headers, _ := in["requestHeaders"].([]any)
	for _, h := range headers {
		pair, _ := h.(map[string]any)
		for _, v := range texts(pair["value"]) {
			req.Header.Add(inText(pair["key"]), v)
		}
	}
	return req, nil
}

// decodeBody returns a JSON body as its value, and any other as text.
func decodeBody(resp *http.Response, raw []byte) (any, error) {
	// A content type that can't be read is not JSON, as none is.
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media != "application/json" && !strings.HasSuffix(media, "+json") || len(raw) == 0 {
		return strings.ToValidUTF8(string(raw), "�"), nil
	}
	var body any
	if err := json.Unmarshal(raw, &body); err != nil {
		return nil, fmt.Errorf("the response is not the JSON that it claims to be: %w", err)
	}
	return body, nil
}

// reason is what a problem document (RFC 9457) says, or the beginning of any other body.
func reason(body any) string {
	problem, ok := body.(map[string]any)
	if !ok || problem["detail"] == nil {
		if text := inText(body); text != "" {
			return ": " + clip(text)
		}
		return ""
	}
	text := ": " + clip(inText(problem["detail"]))
	if code := inText(problem["code"]); code != "" {
		text = " " + clip(code) + text
	}
	return text
}
