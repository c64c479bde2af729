//go:build linux

package e2e

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestView: the page on a real lab, in a browser: it shows within 3 s that BGP was cut, and that it is back. The target dev:testView runs it.
func TestView(t *testing.T) {
	if os.Getenv("LAB_TEST_BROWSER") == "" {
		t.Skip("it needs a browser; with one: go tool mage dev:testView")
	}
	l := newLab(t, "nspawn")
	l.has(l.ok("graph"), "flowchart LR", "Felix, confd, BIRD") // of lab.yaml
	l.ok("verify", "-timeline")
	l.has(l.ok("graph", "-what=bgp"), `---|"Established"|`)
	l.has(l.ok("graph", "-what=packet"), "sequenceDiagram", "It arrives, with TTL 62")
	page := filepath.Join(l.dir, "report.html")
	l.ok("report", "-o="+page)
	html, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	l.has(string(html), "conditions hold", "calico: apply", "10.1.127.192")

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	url, end := l.view(ctx)
	bird := func(order string) string {
		return "ssh -F " + filepath.Join(l.dir, ".lab", "ssh_config") + " calico1 'sudo docker exec $(sudo docker ps -q --filter label=calico-cni-lab.part=calico-node) birdcl -s /var/run/calico/bird.ctl " + order + "'"
	}
	test := l.start(ctx, "go", "test", "-count=1", "-v", "-run", "^TestLive$", "./magefiles/internal/view")
	session := "Mesh_" + strings.ReplaceAll("192.168.4.6", ".", "_")
	test.Env = append(test.Env, "LAB_TEST_VIEW="+url, "LAB_TEST_CUT="+bird("disable "+session), "LAB_TEST_MEND="+bird("enable "+session))
	said, err := test.CombinedOutput()
	t.Logf("%s", said)
	if err != nil {
		t.Error(err)
	}
	end()
}

// view serves the page until the context ends, or end is called, as by Ctrl-C.
func (l *lab) view(ctx context.Context) (url string, end func()) {
	l.t.Helper()
	view := l.start(ctx, l.mage, "view", "-noBrowser")
	out, err := view.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	view.Stderr = os.Stderr
	view.Cancel = func() error { return view.Process.Signal(syscall.SIGINT) }
	if err := view.Start(); err != nil {
		l.t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); url == "" && lines.Scan(); {
		url = regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+/`).FindString(lines.Text())
	}
	if url == "" {
		l.t.Fatal("view prints no address")
	}
	return url, func() {
		l.t.Helper()
		if err := view.Process.Signal(syscall.SIGINT); err != nil {
			l.t.Fatal(err)
		}
		if err := view.Wait(); err != nil {
			l.t.Errorf("after Ctrl-C: %v", err)
		}
	}
}
