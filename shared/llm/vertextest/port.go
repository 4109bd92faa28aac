package vertextest

import (
	"bufio"
	"io"
	"net"
	"sync"
)

// port is a listener whose connections are told apart by their first two bytes: HTTP/2 without TLS, which gRPC speaks, begins
// with the PRI of its preface, and so does no request of HTTP/1.1 that is answered here.
type port struct {
	net.Listener
	grpc, rest *branch

	mu     sync.Mutex
	unread map[net.Conn]bool // connections that have said nothing yet
	closed bool
	open   sync.WaitGroup
}

func newPort(l net.Listener) *port {
	p := &port{Listener: l, unread: map[net.Conn]bool{}}
	p.grpc, p.rest = newBranch(l.Addr()), newBranch(l.Addr())
	p.open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			if p.keep(c) {
				p.open.Go(func() { p.sort(c) })
			}
		}
	})
	return p
}

func (p *port) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close() // nobody is there to talk to it
		return false
	}
	p.unread[c] = true
	return true
}

// sort hands a connection to one of the branches.
func (p *port) sort(c net.Conn) {
	r := bufio.NewReader(c)
	first, err := r.Peek(2)
	p.mu.Lock()
	delete(p.unread, c)
	p.mu.Unlock()
	if err != nil {
		_ = c.Close() // it has said nothing
		return
	}
	to := p.rest
	if string(first) == "PR" {
		to = p.grpc
	}
	select {
	case to.conns <- peeked{c, r}:
	case <-to.done:
		_ = c.Close() // its server has stopped
	}
}

// stop closes the port, after the servers of both branches.
func (p *port) stop() {
	_ = p.Close() // it may be closed already
	p.mu.Lock()
	p.closed = true
	for c := range p.unread {
		_ = c.Close() // it may be closed already
	}
	p.mu.Unlock()
	p.open.Wait()
}

// peeked is a connection of which the beginning was read.
type peeked struct {
	net.Conn
	r io.Reader
}

// Read implements net.Conn.
func (c peeked) Read(b []byte) (int, error) { return c.r.Read(b) }

// branch is the listener of one server.
type branch struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newBranch(addr net.Addr) *branch {
	return &branch{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// Accept implements net.Listener.
func (b *branch) Accept() (net.Conn, error) {
	select {
	case c := <-b.conns:
		return c, nil
	case <-b.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (b *branch) Close() error {
	b.once.Do(func() { close(b.done) })
	return nil
}

// Addr implements net.Listener.
func (b *branch) Addr() net.Addr { return b.addr }
