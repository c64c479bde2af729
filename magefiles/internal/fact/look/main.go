//go:build linux

// Command look runs on a machine, as root. It reads a fact.Request at its standard input and prints a fact.Machine: one
// process, one look. It asks the kernel, Docker, BIRD, Felix and etcd by their sockets and starts no other program (but for
// the packet filter's rules, where they are asked for), so a
// look takes some 20 ms. `look probe` sends packets from the network namespace that it runs in; `look trace` captures what
// passes through the machine, and sends; `look etcd` is an administrator of etcd's, `look snapshot` copies what etcd has.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

func main() {
	err := os.Setenv("PATH", searchPath(os.Getenv("PATH"))) // first: what is found is the same whoever starts this program
	switch {
	case err != nil:
	case len(os.Args) == 1:
		err = serve(always(look))
	case os.Args[1] == "probe":
		err = serve(always(probe))
	case os.Args[1] == "etcd":
		err = serve(order)
	case os.Args[1] == "snapshot":
		err = serve(snapshot)
	case os.Args[1] == "trace":
		err = trace(os.Stdin, os.Stdout)
	default:
		err = errors.New("usage: look | look probe | look trace | look etcd | look snapshot")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "look:", err)
		os.Exit(1)
	}
}

// searchPath is where programs are looked for: where sudo says, or sshd, and where administrators' are, which they may leave out.
func searchPath(given string) string {
	dirs := filepath.SplitList(given)
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return strings.Join(dirs, ":")
}

// serve reads one request and writes its answer.
func serve[Q, A any](answer func(Q) (A, error)) error {
	var q Q
	if err := json.NewDecoder(os.Stdin).Decode(&q); err != nil {
		return fmt.Errorf("the request: %w", err)
	}
	a, err := answer(q)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	if err := json.NewEncoder(out).Encode(a); err != nil {
		return err
	}
	return out.Flush()
}

// always is an answer that what can't be seen is part of.
func always[Q, A any](answer func(Q) A) func(Q) (A, error) {
	return func(q Q) (A, error) { return answer(q), nil }
}

func look(r fact.Request) fact.Machine {
	m := fact.Machine{Login: login(), Datastore: fact.Unknown[[]fact.KeyValue](fact.NotAsked), Go: fact.Unknown[fact.Tree](fact.NotAsked), Etcd: fact.Unknown[fact.Health](fact.NotAsked), Auth: fact.Unknown[fact.Auth](fact.NotAsked), Members: fact.Unknown[[]fact.Member](fact.NotAsked), Deep: fact.Unknown[fact.Deep](fact.NotAsked)}
	m.Rivals, m.Listeners = fact.Unknown[[]fact.Rival](fact.NotAsked), fact.Unknown[[]fact.Listener](fact.NotAsked)
	r.BIRD = cmp.Or(r.BIRD, birdSocket)
	if r.Alone != nil {
		endOthers(*r.Alone)
	}
	if r.Until != nil {
		if late := wait(r); late != "" {
			fmt.Fprintln(os.Stderr, late) // for the run's log; what it comes to is in the facts
		}
	}
	m.At = time.Now()
	var all sync.WaitGroup
	all.Go(func() {
		m.Links, m.Routes, m.Neighbours = links(), routes(), neighbours()
		m.Forwarding = forwarding()
	})
	all.Go(func() { m.Mark = mark(fact.MarkFile) })
	engine := func() {
		m.Docker = docker(dockerSocket, r.Slow)
		// The sandboxes are the containers'.
		m.Sandboxes = sandboxes(m.Docker)
		if r.Deep {
			m.Deep = fact.Known(deep(r, m.Docker))
		}
	}
	all.Go(engine)
	if len(r.Ports) > 0 {
		all.Go(func() { m.Rivals = rivals("/") })
		all.Go(func() { m.Listeners = listeners("/", r.Ports) })
	}
	all.Go(func() { m.BIRD = bird(r.BIRD) })
	all.Go(func() { m.Dialled = dial(r.Dial, r.Slow) })
	all.Go(func() { m.Felix, m.MTU = felix(), mtu("/var/lib/calico/mtu") })
	all.Go(func() { m.Files = files(r, m.Login, fact.SumsFile) })
	all.Go(func() { m.Owned, m.Attachments, m.Lacks = owned(fact.Journal), attachments(), lacks() })
	if r.GoTree {
		all.Go(func() { m.Go = goTree("/usr/local/go", fact.TreeFile) })
	}
	if r.Etcd != nil {
		all.Go(func() { m.Etcd = etcd(r.Etcd) })
		all.Go(func() { m.Datastore = datastore(r.Etcd) })
		all.Go(func() { m.Auth = auth(r.Etcd) })
		all.Go(func() { m.Members = members(r.Etcd) })
	}
	all.Wait()
	if m.Unlisted() { // perhaps it has started since Docker was asked
		engine()
	}
	if m.Dropping = fact.Unknown[[]fact.Rule](fact.NotAsked); !wellConnected(m, r.Etcd != nil) {
		m.Dropping = rules()
		m.Dropping.Value = slices.DeleteFunc(m.Dropping.Value, func(r fact.Rule) bool { return !r.Drops() })
	}
	m.Took = time.Since(m.At)
	return m
}

// wellConnected says whether BGP's sessions are Established, and etcd answers where it is asked.
func wellConnected(m fact.Machine, asked bool) bool {
	down := func(p fact.Protocol) bool { return p.Proto == "BGP" && !p.Established() }
	return !slices.ContainsFunc(m.BIRD.Value.Protocols, down) && (!asked || m.Etcd.Value.OK)
}

// login is who called sudo.
func login() fact.Login {
	name := os.Getenv("SUDO_USER")
	if name == "" {
		name = "root"
	}
	l := fact.Login{User: name, Group: name}
	u, err := user.Lookup(name)
	if err != nil {
		// A user of a directory service, which only the C library knows.
		out, err := exec.Command("getent", "passwd", name).Output()
		if f := strings.Split(strings.TrimSpace(string(out)), ":"); err == nil && len(f) > 5 {
			u = &user.User{Gid: f[3], HomeDir: f[5]}
		}
	}
	if u != nil {
		l.Home = u.HomeDir
		if g, err := user.LookupGroupId(u.Gid); err == nil {
			l.Group = g.Name
		}
	}
	return l
}

func forwarding() fact.Seen[bool] {
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	return fact.See(strings.TrimSpace(string(data)) == "1", err)
}

// programs are what the lab needs on a machine, and the Debian packages that have them.
var programs = [][2]string{
	{"docker", "docker.io"}, {"ip", "iproute2"}, {"iptables", "iptables"}, {"ipset", "ipset"},
	{"jq", "jq"}, {"curl", "curl"}, {"ps", "procps"}, {"nsenter", "util-linux"},
}

func lacks() []string {
	var missing []string
	for _, p := range programs {
		if _, err := exec.LookPath(p[0]); err != nil {
			missing = append(missing, p[1])
		}
	}
	return missing
}

func itoa(n int) string { return strconv.Itoa(n) }
