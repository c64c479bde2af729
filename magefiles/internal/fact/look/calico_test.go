//go:build linux

package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

func TestBIRDLine(t *testing.T) {
	for line, want := range map[string]string{
		"0001 BIRD 1.6.8 ready.":        "0001|BIRD 1.6.8 ready.|true",
		"2002-name     proto    table":  "2002|name     proto    table|false",
		"1002-kernel1  Kernel   master": "1002|kernel1  Kernel   master|false",
		" device1  Device   master":     "|device1  Device   master|false",
		"0000 ":                         "0000||true",
		"9001 syntax error":             "9001|syntax error|true",
		"0000":                          "|0000|false", // broken off before its hyphen or space
		"10.1.86.64/26 via 192.168.4.6": "|10.1.86.64/26 via 192.168.4.6|false",
		"":                              "||false",
	} {
		code, text, last := birdLine(line)
		if got := fmt.Sprintf("%s|%s|%t", code, text, last); got != want {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
}

// fakeBIRD answers every command with a reply, and ends the connection.
func fakeBIRD(t *testing.T, reply string) (socket string, asked <-chan string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bird") //nolint:usetesting // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "ctl")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	commands := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprint(c, "0001 BIRD 1.6.8 ready.\n")
		line, _ := bufio.NewReader(c).ReadString('\n')
		fmt.Fprint(c, reply)
		commands <- line
	}()
	return socket, commands
}

func TestBIRD(t *testing.T) {
	const table = "2002-name     proto    table    state  since       info\n"
	for _, c := range []struct {
		name, reply string
		want        fact.Seen[fact.BIRD]
	}{
		{
			"protocols", table + "1002-static1  Static   master   up     16:53:31    \n kernel1  Kernel   master   up     2026-11-24  \n" +
				" Mesh_192_168_4_6 BGP      master   up     16:53:32    Established   \n Node_10_0_0_1 BGP      master   start  16:53:32    Active        Socket: Connection refused\n0000 \n",
			fact.Known(fact.BIRD{Version: "1.6.8", Protocols: []fact.Protocol{
				{Name: "static1", Proto: "Static", State: "up", Since: "16:53:31"},
				{Name: "kernel1", Proto: "Kernel", State: "up", Since: "2026-11-24"},
				{Name: "Mesh_192_168_4_6", Proto: "BGP", State: "up", Since: "16:53:32", Info: "Established"},
				{Name: "Node_10_0_0_1", Proto: "BGP", State: "start", Since: "16:53:32", Info: "Active Socket: Connection refused"},
			}}),
		},
		{"no protocols", table + "0000 \n", fact.Known(fact.BIRD{Version: "1.6.8"})},
		{"breaks off after a line", table + "1002-static1  Static   master   up     16:53:31\n", fact.Unknown[fact.BIRD]("BIRD's reply broke off")},
		{"breaks off at once", "", fact.Unknown[fact.BIRD]("BIRD's reply broke off")},
		{"breaks off in the last line", table + "00", fact.Unknown[fact.BIRD]("BIRD's reply broke off")},
		{"run-time error", "8003 No protocols match\n", fact.Unknown[fact.BIRD]("BIRD says: No protocols match")},
		{"an error in two lines", "9001-syntax error\n9001 at the end\n", fact.Unknown[fact.BIRD]("BIRD says: at the end")},
	} {
		socket, asked := fakeBIRD(t, c.reply)
		if diff := cmp.Diff(c.want, bird(socket)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if line := <-asked; line != "show protocols\n" {
			t.Errorf("%s: asked %q", c.name, line)
		}
	}
}

func TestNoBIRD(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "ctl")
	if got := bird(missing).Unknown; got != "BIRD doesn't run: nothing answers at "+missing {
		t.Errorf("no socket: %q", got)
	}
	// BIRD that was killed leaves its socket behind.
	socket, _ := fakeBIRD(t, "")
	left := socket + "2"
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: left})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if got := bird(left).Unknown; got != "BIRD doesn't run: nothing answers at "+left {
		t.Errorf("a socket that nobody listens at: %q", got)
	}
}
