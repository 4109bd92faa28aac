package faults_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// network connects clients and servers of one process without sockets. Its connections are pipes without a buffer: who
// does not read holds the writer at once, and time may be virtual.
type network map[string]*listener

// listen serves a host until the test ends.
func (n network) listen(t testing.TB, host string, h http.Handler) *listener {
	t.Helper()
	l := &listener{arrived: make(chan net.Conn), closed: make(chan struct{})}
	n[host] = l
	server := &http.Server{Handler: h, ErrorLog: silent()} //nolint:gosec // who is slow is the subject
	var group sync.WaitGroup
	group.Go(func() { _ = server.Serve(l) }) // always http.ErrServerClosed
	t.Cleanup(func() {
		_ = server.Close()
		group.Wait()
	})
	return l
}

// DialContext is for http.Transport.
func (n network) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	refused := &net.OpError{Op: "dial", Net: "pipe", Err: syscall.ECONNREFUSED}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	l := n[host]
	if l == nil {
		return nil, refused
	}
	near, far := net.Pipe()
	client := &conn{Conn: near}
	server := &conn{Conn: far, peer: client, open: &l.open}
	l.open.Add(1)
	select {
	case l.arrived <- server:
		return client, nil
	case <-l.closed:
		_ = server.Close()
		return nil, refused
	case <-ctx.Done():
		_ = server.Close()
		return nil, ctx.Err()
	}
}

// listener is a net.Listener whose connections are counted while they are open.
type listener struct {
	arrived chan net.Conn
	closed  chan struct{}
	once    sync.Once
	open    atomic.Int64
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.arrived:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// conn is one end of a connection. The server's end can reset it.
type conn struct {
	net.Conn
	peer   *conn
	open   *atomic.Int64
	closed atomic.Bool
	wasCut atomic.Bool
}

// Close implements net.Conn.
func (c *conn) Close() error {
	if c.open != nil && c.closed.CompareAndSwap(false, true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}

// reset closes the connection so that the other end is told of a reset, not of an end.
func (c *conn) reset() {
	c.peer.wasCut.Store(true)
	_ = c.Close()
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.cut("read", err)
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.cut("write", err)
}

func (c *conn) cut(op string, err error) error {
	if err != nil && c.wasCut.Load() {
		return &net.OpError{Op: op, Net: "pipe", Err: syscall.ECONNRESET}
	}
	return err
}
