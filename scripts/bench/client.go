package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// The load generator shares a core with the mock, so what it costs is missing elsewhere. This client does what HTTP/1.1
// needs for our requests and nothing more: it writes bytes that were made before, and reads into memory that it keeps.

// ioTimeout bounds one request. It is longer than any target's own timeout that matters here.
const ioTimeout = 30 * time.Second

// conn is a connection that is kept, and made again where the server closed it.
type conn struct {
	addr string
	raw  net.Conn
	r    *bufio.Reader
	body []byte
}

func dial(addr string) *conn { return &conn{addr: addr, r: bufio.NewReaderSize(nil, 16<<10)} }

func (c *conn) close() {
	if c.raw != nil {
		_ = c.raw.Close() // What was read is read.
		c.raw = nil
	}
}

// response is what is known once the headers were read. Body is valid until the next request on the connection.
type response struct {
	Status int
	Body   []byte
	// First is when the first piece of the body had been read.
	First time.Time
	last  bool
}

// do sends a request and reads the whole answer. piece, which may be nil, hears of the body as it comes: for a chunked one
// it is told of each chunk.
func (c *conn) do(request []byte, piece func(p []byte, at time.Time)) (response, error) {
	resp, err := c.exchange(request, piece)
	if err != nil || resp.last {
		c.close()
	}
	return resp, err
}

func (c *conn) exchange(request []byte, piece func([]byte, time.Time)) (resp response, err error) {
	if c.raw == nil {
		if c.raw, err = net.DialTimeout("tcp", c.addr, 5*time.Second); err != nil {
			c.raw = nil
			return resp, err
		}
		c.r.Reset(c.raw)
	}
	if err := c.raw.SetDeadline(time.Now().Add(ioTimeout)); err != nil {
		return resp, err
	}
	if _, err := c.raw.Write(request); err != nil {
		return resp, fmt.Errorf("send request: %w", err)
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return resp, fmt.Errorf("read status: %w", err)
	}
	fields := bytes.Fields(line)
	if len(fields) < 2 {
		return resp, fmt.Errorf("status line %q", line)
	}
	if resp.Status, err = strconv.Atoi(string(fields[1])); err != nil {
		return resp, fmt.Errorf("status line %q", line)
	}
	length, chunked := -1, false
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return resp, fmt.Errorf("read headers: %w", err)
		}
		name, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(":"))
		if len(name) == 0 {
			break
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
				return resp, fmt.Errorf("content length %q", value)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Connection")):
			resp.last = bytes.EqualFold(value, []byte("close"))
		}
	}
	c.body = c.body[:0]
	take := func(n int) error {
		begin := len(c.body)
		c.body = append(c.body, make([]byte, n)...)
		if _, err := io.ReadFull(c.r, c.body[begin:]); err != nil {
			return fmt.Errorf("read body: %w", err)
		}
		if n == 0 {
			return nil
		}
		at := time.Now()
		if resp.First.IsZero() {
			resp.First = at
		}
		if piece != nil {
			piece(c.body[begin:], at)
		}
		return nil
	}
	switch {
	case chunked:
		err = c.chunks(take)
	case length >= 0:
		err = take(length)
	default:
		err = errors.New("the answer has neither a length nor chunks")
	}
	resp.Body = c.body
	return resp, err
}

// chunks reads a chunked body up to its end.
func (c *conn) chunks(take func(n int) error) error {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("read chunk: %w", err)
		}
		size, _, _ := bytes.Cut(bytes.TrimSpace(line), []byte(";"))
		n, err := strconv.ParseUint(string(size), 16, 31)
		if err != nil {
			return fmt.Errorf("chunk size %q", size)
		}
		if n > 0 {
			if err := take(int(n)); err != nil {
				return err
			}
		}
		if line, err = c.r.ReadSlice('\n'); err != nil || len(bytes.TrimSpace(line)) > 0 {
			return fmt.Errorf("chunk ends with %q: %w", line, err)
		}
		if n == 0 {
			return nil
		}
	}
}
