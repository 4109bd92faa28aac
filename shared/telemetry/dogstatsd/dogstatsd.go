// Package dogstatsd writes metric points and events in the DogStatsD protocol. Every metric is a distribution, one value
// on each line, without sample rates: the Lambda extension drops histograms and timers, ignores sample rates, and keeps
// only the first of several values on one line. It is no general statsd client, and it needs no SDK.
//
// The wire format is described at https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/.
package dogstatsd

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/shared/telemetry"
)

const (
	// defaultMaxBytes keeps a datagram within one Ethernet frame, with room for the headers of IPv6 and UDP.
	defaultMaxBytes = 1432
	// maxTag is the longest tag that Datadog keeps, in bytes here, which is never more than its characters.
	maxTag = 200
	// maxText is the longest title or text of an event.
	maxText = 4000
)

// Options are what a Client is made of.
type Options struct {
	// Writer takes the datagrams, one in each call of Write. It is required.
	Writer io.Writer
	// Tags, "key:value", are added to every point and event.
	Tags []string
	// MaxBytes is the size of the largest datagram; 1432 when zero. A single longer line is sent as it is.
	MaxBytes int
	// Delay is after which time a line is written at the latest, for a process that runs between its requests; when zero, what
	// fills no datagram waits for Flush.
	Delay time.Duration
}

// Client buffers points until a datagram is full or Flush is called. It is safe for concurrent use.
type Client struct {
	w     io.Writer
	max   int
	tags  string
	delay time.Duration

	mu      sync.Mutex
	due     *time.Timer // set while lines wait for the delay
	buf     []byte
	lines   uint64 // how many lines buf holds
	dropped uint64
	// rendered holds the tags of a line while points are emitted.
	rendered []byte
}

// New checks the options and returns a Client.
func New(o Options) (*Client, error) {
	if o.Writer == nil {
		return nil, errors.New("dogstatsd: Writer is required")
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.MaxBytes < 0 {
		return nil, fmt.Errorf("dogstatsd: MaxBytes %d is negative", o.MaxBytes)
	}
	var global []byte
	for _, tag := range o.Tags {
		global = appendTag(append(global, ','), tag)
	}
	return &Client{w: o.Writer, max: o.MaxBytes, delay: o.Delay, tags: strings.TrimPrefix(string(global), ","), buf: make([]byte, 0, 2*o.MaxBytes)}, nil
}

// Emit adds points to the buffer, and writes a datagram whenever one is full. A name or a value that the
// protocol cannot carry is counted as dropped.
func (c *Client) Emit(points []telemetry.Point) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var shared []string // the tags that c.rendered holds
	c.rendered = c.appendTags(c.rendered[:0], nil)
	for _, p := range points {
		if p.Metric == "" || strings.ContainsAny(p.Metric, ":|\n@#") || math.IsNaN(p.Value) || math.IsInf(p.Value, 0) {
			c.dropped++
			continue
		}
		start := len(c.buf)
		c.buf = append(c.buf, p.Metric...)
		c.buf = append(c.buf, ':')
		c.buf = strconv.AppendFloat(c.buf, p.Value, 'g', -1, 64)
		// Points of one exchange share their tags.
		if len(p.Tags) != len(shared) || (len(shared) > 0 && &p.Tags[0] != &shared[0]) {
			c.rendered, shared = c.appendTags(c.rendered[:0], p.Tags), p.Tags
		}
		c.buf = append(append(c.buf, "|d"...), c.rendered...)
		c.buf = append(c.buf, '\n')
		c.full(start)
	}
}

// Event adds an event to the buffer. Long titles and texts are cut.
func (c *Client) Event(e telemetry.Event) {
	// Lengths are of the UTF-8 bytes, with line breaks already escaped.
	escape := func(s string) string { return strings.ReplaceAll(cut(s, maxText), "\n", `\n`) }
	title, text := escape(e.Title), escape(e.Text)
	c.mu.Lock()
	defer c.mu.Unlock()
	start := len(c.buf)
	c.buf = fmt.Appendf(c.buf, "_e{%d,%d}:%s|%s", len(title), len(text), title, text)
	if e.AggregationKey != "" {
		c.buf = appendTag(append(c.buf, "|k:"...), e.AggregationKey)
	}
	if e.Type != "" {
		c.buf = appendTag(append(c.buf, "|t:"...), e.Type)
	}
	c.buf = append(c.appendTags(c.buf, e.Tags), '\n')
	c.full(start)
}

// Flush writes what is buffered.
func (c *Client) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.due != nil {
		c.due.Stop()
		c.due = nil
	}
	c.write(len(c.buf), c.lines)
}

// TakeDropped returns how many points and events were lost since the last call, and starts to count anew.
func (c *Client) TakeDropped() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.dropped
	c.dropped = 0
	return n
}

// full accounts for the line that begins at start. When it does not fit into the datagram, the lines before it go out.
func (c *Client) full(start int) {
	if len(c.buf)-1 > c.max {
		c.write(start, c.lines)
	}
	c.lines++
	switch {
	case len(c.buf) >= c.max:
		c.write(len(c.buf), c.lines)
	case c.delay > 0 && c.due == nil:
		c.due = time.AfterFunc(c.delay, c.Flush)
	}
}

// write sends the first n bytes of the buffer, which are the given number of lines.
func (c *Client) write(n int, lines uint64) {
	if n == 0 {
		return
	}
	// The line break separates lines: the last one has none.
	if _, err := c.w.Write(c.buf[:n-1]); err != nil {
		c.dropped += lines
	}
	c.buf = c.buf[:copy(c.buf, c.buf[n:])]
	c.lines -= lines
}

// appendTags appends the tags of all lines and those of one.
func (c *Client) appendTags(buf []byte, tags []string) []byte {
	if c.tags == "" && len(tags) == 0 {
		return buf
	}
	buf = append(append(buf, "|#"...), c.tags...)
	for i, tag := range tags {
		if i > 0 || c.tags != "" {
			buf = append(buf, ',')
		}
		buf = appendTag(buf, tag)
	}
	return buf
}

// appendTag appends a tag; what would end it early becomes an underscore.
func appendTag(buf []byte, tag string) []byte {
	tag = cut(tag, maxTag)
	start := len(buf)
	buf = append(buf, tag...)
	for i := start; i < len(buf); i++ {
		switch c := buf[i]; {
		case c == ',' || c == '|' || c == '#' || c < ' ' || c == 0x7f:
			buf[i] = '_'
		}
	}
	return buf
}

// cut shortens s to at most n bytes, never within a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
