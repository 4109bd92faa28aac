package vertextest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Tunnel makes a server answer as Vertex AI itself, under its names and with TLS, to a process that is started with its
// environment: such a process is configured as in production, sends its credentials, and calls no address of a stand-in.
type Tunnel struct {
	// Env are the settings that lead a process through the tunnel: a proxy, and a file of root certificates. Go reads both
	// once per process.
	Env []string

	server *Server
	cert   tls.Certificate
	mu     sync.Mutex
	hosts  []string
}

// NewTunnel opens a tunnel to a server until the test ends. Hosts that are not Google's are refused.
func NewTunnel(t testing.TB, s *Server) *Tunnel {
	t.Helper()
	cert, roots := certificate(t)
	file := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(file, roots, 0o600); err != nil {
		t.Fatalf("write root certificates: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a listener on loopback opens at once or not at all
	if err != nil {
		t.Fatalf("listen for a tunnel: %v", err)
	}
	tunnel := &Tunnel{server: s, cert: cert, Env: []string{
		"HTTPS_PROXY=http://" + l.Addr().String(), "NO_PROXY=", "SSL_CERT_FILE=" + file, "SSL_CERT_DIR=" + filepath.Dir(file),
	}}
	var open sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			open.Go(func() { tunnel.carry(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close() // nothing is accepted any more, one way or the other
		mu.Lock()
		for c := range conns {
			_ = c.Close() // it may be closed already
		}
		mu.Unlock()
		open.Wait()
	})
	return tunnel
}

// Hosts returns the names that were called, each once, in the order of the first calls.
func (t *Tunnel) Hosts() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.hosts)
}

// carry is one connection: a CONNECT of HTTP, TLS, and then what goes between the client and the stand-in.
func (t *Tunnel) carry(c net.Conn) {
	defer func() { _ = c.Close() }() // it has been used
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil || r.Method != http.MethodConnect {
		return
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil || !strings.HasSuffix(host, ".googleapis.com") {
		_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\n\r\n") // whoever is refused need not hear it
		return
	}
	t.mu.Lock()
	if !slices.Contains(t.hosts, host) {
		t.hosts = append(t.hosts, host)
	}
	t.mu.Unlock()
	if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	secure := tls.Server(c, &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		// gRPC speaks HTTP/2 only; the REST stand-in does not speak it.
		protocol := "http/1.1"
		if !slices.Contains(h.SupportedProtos, protocol) {
			protocol = "h2"
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{t.cert}, NextProtos: []string{protocol}}, nil
	}})
	if err := secure.Handshake(); err != nil { //nolint:noctx // the test's end closes the connection
		return
	}
	to, err := net.Dial("tcp", t.server.Host) //nolint:noctx // loopback
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }() // it has been used
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{to, secure}, {secure, to}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1]) // a side that has gone ends both
			done <- struct{}{}
		}()
	}
	<-done
	_, _ = secure.Close(), to.Close() // so that the other copy ends
	<-done
}

// certificate makes a certificate for Google's names, which is its own root.
func certificate(t testing.TB) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("make a key: %v", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stand-in"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"*.googleapis.com", "aiplatform.us.rep.googleapis.com", "aiplatform.eu.rep.googleapis.com"},
		IsCA:     true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatalf("make a certificate: %v", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
