// Package labtest makes lab files for fuzz tests: real ones, with one word exchanged.
package labtest

import (
	"os"
	"path/filepath"
	"testing"
)

// Base is a small lab file that is valid.
const Base = `name: lab
underlay: {subnet: 192.168.4.0/24}
machines:
  - {name: etcd, role: etcd, count: 3, address: 192.168.4.17, memory: 256, cpus: 1}
  - {name: calico1, role: calico, address: 192.168.4.5, ssh: {address: host.example, port: 22, user: me, key: ~/.ssh/key}}
  - {name: calico2, role: calico, address: 192.168.4.6}
  - {name: tor, role: router, address: 192.168.4.20, asNumber: 64514}
  - {name: more, role: calico, count: 2, address: 192.168.4.8, workloads: {count: 3, labels: {app: web, example.org/tier: "1"}}}
network: net
bgp: {asNumber: 64513, mesh: false, reflectors: [calico1, more2]}
pool: {name: p, cidr: 10.1.0.0/16, blockSize: 26, ipipMode: Never, natOutgoing: true, disabled: false}
versions: {debian: bookworm, go: 1.26.11}
vagrant: {box: a/b, boxVersion: 20260413.2447.0}
`

// words are what a word is exchanged for at first: what one YAML reader may take otherwise than another, what doesn't belong
// into a file, a command line or a template that it is written to.
var words = []string{
	"yes", "off", "null", "010", "1e3", "2026-01-01", `"123"`, "!!binary abcd", "&a lab", "0512", "+512", `"512"`, "''", "1.10", `"a\nb"`, "192.168.004.0/24",
	`"x\n  ProxyCommand touch /tmp/x"`, "-oProxyCommand=x", "~/%h/${HOME}", "1.26.11+x", "v1.26.11", "'{{ 1 + 1 }}'", `"\x1b[2J"`, ":sym", "12:30:45", "10.0.0.0/8", "0.0.0.0/0", "é",
}

// Add gives a fuzz test of Edited's arguments the lab files in a directory, lab.yaml in the project's root, and Base with each
// of words somewhere.
func Add(f *testing.F, root, dir string) {
	f.Helper()
	seeds, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range append(seeds, filepath.Join(root, "lab.yaml")) {
		data, err := os.ReadFile(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, uint8(0), "")
	}
	for i := range count([]byte(Base)) {
		f.Add([]byte(Base), uint8(i), words[i%len(words)])
	}
	for i, w := range words {
		f.Add([]byte(Base), uint8(i), w)
		f.Add([]byte(Base), uint8(1), w) // the lab's name
	}
}

// Edited is a lab file whose nth word is exchanged; "" exchanges none. Words end at space and at YAML's braces and commas.
func Edited(data []byte, nth uint8, word string) []byte {
	n := count(data)
	if word == "" || n == 0 {
		return data
	}
	var out []byte
	at := int(nth) % n
	each(data, func(token []byte, isWord bool) {
		if isWord {
			if at == 0 {
				token = []byte(word)
			}
			at--
		}
		out = append(out, token...)
	})
	return out
}

func count(data []byte) (n int) {
	each(data, func(_ []byte, isWord bool) {
		if isWord {
			n++
		}
	})
	return n
}

// each cuts a file into words and what is between them.
func each(data []byte, do func(token []byte, isWord bool)) {
	between := func(c byte) bool { return c == ' ' || c == '\n' || c == '{' || c == '}' || c == ',' }
	for start := 0; start < len(data); {
		end := start + 1
		for end < len(data) && between(data[end]) == between(data[start]) {
			end++
		}
		do(data[start:end], !between(data[start]))
		start = end
	}
}
