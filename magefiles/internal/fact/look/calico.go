//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// birdSocket is the control socket of calico-node's BIRD: its container has it on the machine.
const birdSocket = "/var/run/calico/bird.ctl"

func bird(socket string) fact.Seen[fact.BIRD] {
	lines, err := askBIRD(socket, "show protocols")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
			return fact.Unknown[fact.BIRD]("BIRD doesn't run: nothing answers at " + socket)
		}
		return fact.Unknown[fact.BIRD](err.Error())
	}
	return fact.Known(parseBIRD(lines))
}

// birdTime is what BIRD has for an answer, which takes it milliseconds: beside fifty others that look at once it can wait for a CPU.
const birdTime = 5 * time.Second

// askBIRD sends a command and returns the lines of the reply, the greeting's first. A line is a number of four digits,
// a hyphen or a space, and the text; one without a number continues the one before. Numbers below 1000, but for 0001, and
// from 8000 on end a reply (BIRD 1.6, doc/reply_codes).
func askBIRD(socket, command string) ([]string, error) {
	conn, err := net.DialTimeout("unix", socket, birdTime)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(birdTime)); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(conn, "%s\n", command); err != nil {
		return nil, err
	}
	return readBIRD(conn)
}

// readBIRD reads a reply.
func readBIRD(reply io.Reader) (lines []string, err error) {
	for sc := bufio.NewScanner(reply); sc.Scan(); {
		code, text, ok := birdLine(sc.Text())
		switch {
		case code == "0001":
			lines = append(lines, text)
		case ok && (code < "1000" || code >= "8000"):
			if code >= "8000" {
				return lines, fmt.Errorf("BIRD says: %s", text)
			}
			return lines, nil
		default:
			lines = append(lines, text)
		}
	}
	return lines, errors.New("BIRD's reply broke off")
}

// birdLine takes the number off a line of a reply; last says that no other line of that number follows.
func birdLine(line string) (code, text string, last bool) {
	if len(line) < 5 || strings.TrimLeft(line[:4], "0123456789") != "" {
		return "", strings.TrimPrefix(line, " "), false
	}
	return line[:4], line[5:], line[4] == ' '
}

func parseBIRD(lines []string) fact.BIRD {
	var b fact.BIRD
	for _, line := range lines {
		f := strings.Fields(line)
		switch {
		case len(f) >= 2 && f[0] == "BIRD":
			b.Version = f[1]
		case len(f) >= 5 && f[0] != "name":
			b.Protocols = append(b.Protocols, fact.Protocol{Name: f[0], Proto: f[1], State: f[3], Since: f[4], Info: strings.Join(f[5:], " ")})
		}
	}
	return b
}

var client = &http.Client{Timeout: 3 * time.Second}

// felix asks where Felix reports on itself (FelixConfiguration: healthHost, healthPort).
func felix() fact.Seen[fact.Health] {
	const url = "http://localhost:9099/readiness"
	res, err := client.Get(url)
	if err != nil {
		return fact.Known(fact.Health{Said: "nothing answers at " + url})
	}
	res.Body.Close() // only the status counts
	// 200 comes with a report, 204 without one.
	return fact.Known(fact.Health{OK: res.StatusCode/100 == 2, Said: url + " answers " + res.Status})
}

// mtu reads what Felix writes for Calico's plugin.
func mtu(file string) fact.Seen[int] {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		return fact.Known(0)
	}
	if err != nil {
		return fact.Unknown[int](err.Error())
	}
	return fact.See(strconv.Atoi(strings.TrimSpace(string(data))))
}

// attachments reads what libcni remembers.
func attachments() fact.Seen[[]fact.Attachment] {
	names, err := filepath.Glob("/var/lib/cni/results/*")
	if err != nil {
		return fact.Unknown[[]fact.Attachment](err.Error())
	}
	var all []fact.Attachment
	for _, name := range names {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // just removed
		}
		var cached struct {
			fact.Attachment
			Config []byte
		}
		if err == nil {
			err = json.Unmarshal(data, &cached)
		}
		if err != nil {
			return fact.Unknown[[]fact.Attachment](fmt.Sprintf("%s: %v", name, err))
		}
		a := cached.Attachment
		a.Conflist, a.Live = string(cached.Config), mounted(a.NetNS)
		all = append(all, a)
	}
	return fact.Known(all)
}

// owned are the paths that the lab noted before it made them: one of each entry of its journal (scripts/note-original.sh).
func owned(journal string) fact.Seen[[]string] {
	files, err := filepath.Glob(journal + "/[0-9]*/path")
	var paths []string
	for _, file := range files {
		path, readErr := os.ReadFile(file)
		err = errors.Join(err, readErr)
		paths = append(paths, string(path))
	}
	return fact.See(paths, err)
}

func learned(socket string) fact.Seen[[]fact.BIRDRoute] {
	lines, err := askBIRD(socket, "show route all")
	if err != nil {
		return fact.Unknown[[]fact.BIRDRoute]("BIRD doesn't answer: " + err.Error())
	}
	return fact.Known(fact.ParseLearned(lines))
}
