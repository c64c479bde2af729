package remote

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// proxyVariable makes the test binary a proxy: to this socket.
const proxyVariable = "LAB_TEST_PROXY"

func TestMain(m *testing.M) {
	socket := os.Getenv(proxyVariable)
	if socket == "" {
		os.Exit(m.Run())
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, "no such machine")
		os.Exit(1)
	}
	go func() {
		_, _ = io.Copy(conn, os.Stdin)
		os.Exit(0) // as docker exec does
	}()
	_, _ = io.Copy(os.Stdout, conn)
}

// TestProxy: SSH over a command's standard input and output. It ends with the connection, and what it says is in the error.
func TestProxy(t *testing.T) {
	m, e := newMachine(t)
	t.Setenv(proxyVariable, m.socket)
	e.Network, e.Address, e.Proxy = "", "", []string{os.Args[0]}
	if _, err := dial(t.Context(), e); err == nil || !strings.Contains(err.Error(), "no such machine") {
		t.Errorf("before it listens: %v", err)
	}
	m.listen(t, e.Keys[0].Signer.PublicKey())
	h, err := Dial(t.Context(), e, nil)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := h.Run(t.Context(), "echo", "through a proxy"); out != "through a proxy" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	conn, err := proxy([]string{"sleep", "60"}) // one that doesn't end by itself
	if err != nil {
		t.Fatal(err)
	}
	p := conn.(*proxied)
	start := time.Now()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-p.ended:
	default:
		t.Error("the command runs on")
	}
	if took := time.Since(start); took > 2*proxyGrace {
		t.Errorf("it took %s", took)
	}
	if _, err := proxy([]string{"/no/such/program"}); err == nil {
		t.Error("started what isn't there")
	}
}
