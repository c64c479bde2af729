//go:build linux

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/challenge"
)

// challengesVariable says what TestChallenges is to do: "all" plays every way of every challenge.
const challengesVariable = "LAB_TEST_CHALLENGES"

// cheat is a way to make a symptom go away without mending what causes it, and back. What solved says of it.
type cheat struct{ do, undo, says string }

// Words that stand in cheats for what a challenge's text names.
const (
	inWorkload = "sudo nsenter --net=$(sudo docker inspect -f '{{.NetworkSettings.SandboxKey}}' workload) "
	freshly    = "jq 'del(.metadata.resourceVersion,.metadata.uid,.metadata.creationTimestamp)'"
	toPeer     = "$(ip route | grep -q 10.1.127.192.*cali && echo 10.1.86.64/26 via 192.168.4.6 || echo 10.1.127.192/26 via 192.168.4.5)"
)

// staticRoutes are what somebody in a hurry does on both nodes.
var staticRoutes = cheat{"both: sudo ip route replace " + toPeer + " proto static", "both: sudo ip route del " + toPeer + " proto static", "isn't as it was"}

// cheats are one for each challenge; a machine is one by its name, node, other, or both.
var cheats = map[string]cheat{
	"mute":        {"node: " + inWorkload + "ip neigh replace 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent", "node: " + inWorkload + "ip neigh del 169.254.1.1 dev eth0", "its cause isn't"},
	"islands":     staticRoutes,
	"small-talk":  staticRoutes,
	"newcomers":   {"node: sudo sh -c 'sed s/1.1.0/1.0.0/\\;s/2389/2379/ /etc/cni/net.d/10-test-calico.conflist >/etc/cni/net.d/05-mine.conflist'", "node: sudo rm /etc/cni/net.d/05-mine.conflist", "has /etc/cni/net.d/05-mine.conflist, which wasn't there"},
	"closed-door": {"etcd-node: sudo calicoctl get gnp lock-down -o json | " + freshly + " >lock-down.json; sudo calicoctl delete gnp lock-down", "etcd-node: sudo calicoctl apply -f lock-down.json", "this is to stay as it was: globalnetworkpolicies/default.lock-down"},
	"hermit": {"etcd-node: for p in staging test-calico; do sudo calicoctl get profile $p -o json | " + freshly + " >$p.json; jq '.spec.ingress=[{action:\"Allow\"}]' $p.json | sudo calicoctl apply -f - || exit; done",
		"etcd-node: for p in staging test-calico; do sudo calicoctl apply -f $p.json || exit; done", "profiles/test-calico isn't as it was"},
	"nowhere": {"node: sudo iptables -I FORWARD -j ACCEPT", "node: sudo iptables -D FORWARD -j ACCEPT", "chain FORWARD"},
	"hang":    {"both: " + inWorkload + "ip link set eth0 mtu 1400", "both: " + inWorkload + "ip link set eth0 mtu 1500", "still so"},
	"full-house": {"etcd-node: sudo calicoctl ipam configure --strictaffinity=false --max-blocks-per-host=0", "etcd-node: sudo calicoctl ipam configure --strictaffinity=true --max-blocks-per-host=1",
		"this is to stay as it was"},
	"no-comeback": {"etcd-node: sudo calicoctl get node NODE -o json | jq '.spec.bgp={ipv4Address:\"ADDRESS/24\"}' | sudo calicoctl replace -f -; sleep 3", "etcd-node: sudo calicoctl get node NODE -o json >/dev/null", "its cause isn't"},
}

// challenges plays three challenges, in the long round each, once, on a lab of which all is well.
func challenges(l *lab) {
	l.has(l.fails("solved"), "no challenge is on", "go tool mage challenge")
	l.has(l.fails("challenge", "mut"), `there is no challenge "mut"`, "did you mean mute?")
	for _, c := range challenge.All() {
		way := "calico2 0"
		if c.Name == "islands" {
			way = "calico2 1" // the other one is a chapter's, too
		}
		play := l.long
		switch c.Name {
		case "small-talk", "newcomers", "closed-door": // BGP, CNI, policy
			play = l.sub
		}
		play(c.Name, func(l *lab) { plays(l, c.Name, l.ways(c.Name)[way], true) })
	}
	l.sub("while one is on", whileOn)
	l.long("interrupted", interruptedSetUp)
	l.sub("a lab that isn't well", notWell)
}

// TestChallenges plays every way of every challenge.
func TestChallenges(t *testing.T) {
	if os.Getenv(challengesVariable) == "" {
		t.Skip("a target of its own: go tool mage dev:testChallenges")
	}
	l := newLab(t, "nspawn")
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	l.ok("verify")
	for _, c := range challenge.All() {
		for way, seed := range l.ways(c.Name) {
			l.part(c.Name+" "+way, func(l *lab) { plays(l, c.Name, seed, false) })
		}
	}
	l.ok("destroy")
	l.nothingLeft()
}

// ways are a challenge's, each with a seed.
func (l *lab) ways(name string) map[string]string {
	l.t.Helper()
	all := map[string]string{}
	for seed := range 40 {
		k, err := challenge.Open(&challenge.Lab{Lab: l.want}, challenge.New(name, uint64(seed)))
		if err != nil {
			l.t.Fatal(err)
		}
		all[k.Way()] = strconv.Itoa(seed)
	}
	return all
}

// plays sets a challenge up; it isn't solved, also not after a cheat, and then it is, by what the answer says. The lab is as it was.
func plays(l *lab, name, seed string, cheating bool) {
	start := time.Now()
	out := l.ok("challenge", "-seed="+seed, name)
	l.has(out, "challenge "+name+": ", "go tool mage solved", "go tool mage hint", "go tool mage reset")
	l.has(l.fails("solved"), "✗ still so: ", "isn't solved yet")
	node := regexp.MustCompile(`calico[12]`).FindString(out)
	if cheating {
		c := cheats[name]
		l.types(c.do, node)
		l.has(l.fails("solved"), c.says, "isn't solved yet")
		l.types(c.undo, node)
	}
	answer := l.ok("answer")
	l.has(answer, "Seen now:", "This mends it:")
	_, fix, _ := strings.Cut(answer, "This mends it:\n")
	for _, line := range regexp.MustCompile(`(?m)^  ([a-z0-9-]+)\$ (.*)$`).FindAllStringSubmatch(fix, -1) {
		l.ssh(line[1], line[2])
	}
	l.has(l.ok("solved"), "✓ solved: ", "with the answer", "the lab is as it was before")
	l.has(l.ok("reset"), "nothing differed from the baseline")
	l.t.Logf("%s took %.1fs", name, time.Since(start).Seconds())
}

// types types a command where it belongs: "MACHINE: COMMAND".
func (l *lab) types(text, node string) {
	l.t.Helper()
	machine, command, _ := strings.Cut(text, ": ")
	other, address := "calico2", "192.168.4.5"
	if node == "calico2" {
		other, address = "calico1", "192.168.4.6"
	}
	command = strings.NewReplacer("NODE", node, "ADDRESS", address).Replace(command)
	switch machine {
	case "both":
		l.ssh(node, command)
		l.ssh(other, command)
	case "node":
		l.ssh(node, command)
	default:
		l.ssh(machine, command)
	}
}

// whileOn: nothing tells what is broken, nothing mends it by the way, and giving up restores.
func whileOn(l *lab) {
	l.ok("challenge", "-seed=1", "small-talk")
	quiet := func(out string) {
		l.t.Helper()
		for _, word := range []string{"disableBGPExport", "ipPool", "ippool", "pool "} {
			if strings.Contains(out, word) {
				l.t.Errorf("%q tells too much:\n%s", word, out)
			}
		}
	}
	check := l.fails("check")
	l.has(check, "challenge small-talk is on", "✗ the workload on calico1 reaches all others", "-spoil")
	quiet(check)
	stdout, _, _ := l.run("check", "-json")
	var report struct {
		Challenge  string
		OK         bool
		Conditions []struct{ ID, Try, Mend string }
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || report.OK || report.Challenge != "small-talk" || len(report.Conditions) != 2 || report.Conditions[0].Try != "" {
		l.t.Errorf("%v: %s", err, stdout)
	}
	quiet(stdout)
	status := l.ok("status")
	l.has(status, "challenge", "small-talk is on", "next", "go tool mage challenge")
	quiet(status)
	for _, args := range [][]string{{"verify"}, {"plan"}, {"graph"}, {"report"}, {"ipPool"}, {"unplumb"}, {"stop"}, {"start"}, {"challenge", "mute"}, {"learn", "-play", "the-lab"}} {
		out := l.fails(args...)
		l.has(out, "challenge small-talk is on", "go tool mage reset")
		quiet(out)
	}
	viewed(l)
	l.has(l.ok("challenge"), "… small-talk", "challenge small-talk: ")
	l.has(l.ok("challenge", "small-talk"), "challenge small-talk: ")
	logs, err := filepath.Glob(filepath.Join(l.dir, ".lab", "logs", "*challenge*.log"))
	if err != nil || len(logs) == 0 {
		l.t.Fatalf("no log: %v", err)
	}
	for _, file := range append(logs, filepath.Join(l.dir, ".lab", "challenge.json")) {
		data, err := os.ReadFile(file)
		if err != nil || strings.Contains(string(data), "disableBGPExport") {
			l.t.Errorf("%s: it gives it away (%v)", file, err)
		}
	}
	for n := range challenge.MostHints {
		l.has(l.ok("hint"), "hint "+strconv.Itoa(n+1)+" of 3")
	}
	l.has(l.fails("check", "-spoil"), "disableBGPExport is true")
	l.has(l.ok("reset"), "put back ippools/my.ippool-1", "challenge small-talk is given up")
	l.holds()
	l.has(l.ok("challenge"), "small-talk", "given up once")
	l.has(l.ok("learn"), "given up once", "of 10 challenges solved")
}

// viewed: the page that shows the lab live tells nothing of the cause.
func viewed(l *lab) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	url, end := l.view(ctx)
	defer end()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"events", nil)
	if err != nil {
		l.t.Fatal(err)
	}
	events, err := http.DefaultClient.Do(request)
	if err != nil {
		l.t.Fatal(err)
	}
	defer events.Body.Close()
	lines := bufio.NewReader(events.Body)
	data, ok := "", false
	for !ok {
		line, err := lines.ReadString('\n')
		if err != nil {
			l.t.Fatal(err)
		}
		data, ok = strings.CutPrefix(line, "data: ")
	}
	var shown struct{ Concealed, Verdict string }
	if err := json.Unmarshal([]byte(data), &shown); err != nil || !strings.Contains(shown.Concealed, "challenge small-talk is on") || shown.Verdict != "" {
		l.t.Errorf("%v: %+v", err, shown)
	}
	request, err = http.NewRequestWithContext(ctx, http.MethodPost, url+"explain", strings.NewReader(`["route","calico1","10.1.86.64/26"]`))
	if err != nil {
		l.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		l.t.Fatal(err)
	}
	defer answer.Body.Close()
	told, err := io.ReadAll(answer.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	l.has(string(told), "challenge small-talk is on")
	for _, word := range []string{"disableBGPExport", `"state":"bad"`, `"story"`} {
		if strings.Contains(data+string(told), word) {
			l.t.Errorf("the page says %q", word)
		}
	}
}

// interruptedSetUp: it is finished by the same command, or taken back.
func interruptedSetUp(l *lab) {
	for _, then := range [][]string{{"challenge", "hermit"}, {"reset"}} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		cmd := l.start(ctx, l.mage, "challenge", "-seed=1", "hermit")
		if err := cmd.Start(); err != nil {
			l.t.Fatal(err)
		}
		for file := filepath.Join(l.dir, ".lab", "challenge.json"); ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
			if _, err := os.Stat(file); err == nil {
				break
			}
		}
		time.Sleep(300 * time.Millisecond)
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			l.t.Fatal(err)
		}
		_ = cmd.Wait()
		cancel()
		l.has(l.fails("solved"), "the set-up of challenge hermit was interrupted", "go tool mage challenge hermit", "go tool mage reset")
		l.has(l.fails("verify"), "challenge hermit is on")
		out := l.ok(then...)
		if then[0] == "challenge" {
			l.has(out, "challenge hermit: ")
			if strings.Contains(out, "put back") {
				l.t.Errorf("it tells what it takes back:\n%s", out)
			}
			l.ok("reset")
		}
		l.has(l.ok("reset"), "nothing differed from the baseline")
		l.holds()
	}
}

// notWell: a lab that isn't as it was is refused, and so is one with a lesson under way; nothing is touched.
func notWell(l *lab) {
	l.ssh("calico1", "sudo ip netns add mine")
	l.has(l.fails("challenge", "mute"), "the lab isn't as it was after verify", "network namespace mine", "go tool mage reset")
	l.has(l.fails("hint"), "no challenge is on")
	l.ok("reset")
	l.ok("learn", "-to=the-lab/2")
	l.has(l.fails("challenge", "mute"), `lesson "the-lab" is under way`, "go tool mage reset")
	l.ok("reset")
}
