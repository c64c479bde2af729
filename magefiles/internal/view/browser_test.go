package view

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact/recorded"
)

// browserVariable is set where a browser must be there; otherwise the tests that need one are skipped without.
const browserVariable = "LAB_TEST_BROWSER"

// urlVariable is the address of a view of a real lab: TestLive watches that.
const urlVariable = "LAB_TEST_VIEW"

// browser is a headless one, that notes what its console has to complain.
type browser struct {
	context.Context
	t      *testing.T
	mu     sync.Mutex
	errors []string
}

func start(t *testing.T) *browser {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "google-chrome", "chromium-browser"} {
		if p, err := exec.LookPath(name); err == nil && program == "" {
			program = p
		}
	}
	if program == "" {
		if os.Getenv(browserVariable) != "" {
			t.Fatal("there is no chromium and no google-chrome")
		}
		t.Skip("there is no chromium; go tool mage dev:testView installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.WindowSize(1440, 900))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // which root can't have
	}
	// The test's own context ends before its cleanups, and a browser that is killed leaves directories behind.
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	b := &browser{Context: ctx, t: t}
	b.run() // starts it
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("closing the browser: %v", err)
		}
	})
	console := chromedp.Console(ctx)
	go func() {
		for m, err := range console {
			if err != nil {
				return
			}
			b.mu.Lock()
			b.errors = append(b.errors, fmt.Sprintf("%s: %s (%s)", m.Type, m.Text, m.URL))
			b.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.errors) > 0 {
			t.Errorf("the console: %s", strings.Join(b.errors, "; "))
		}
	})
	return b
}

func (b *browser) run(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b, steps...); err != nil {
		b.fail(err)
	}
}

// value is what a script comes to.
func value[T any](b *browser, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b, chromedp.Evaluate[T](expression))
	if err != nil {
		b.fail(err)
	}
	return v
}

func (b *browser) fail(err error) {
	b.t.Helper()
	if seen, wrong := chromedp.Run(b, chromedp.Evaluate[string]("document.body.innerText")); wrong == nil {
		b.t.Fatalf("%v; the page:\n%s", err, seen)
	}
	b.t.Fatal(err)
}

// until waits for something to be true of the page, and returns how long that took.
func (b *browser) until(expression string) time.Duration {
	b.t.Helper()
	began := time.Now()
	_, err := chromedp.Run(b, chromedp.Poll[bool](expression, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(20*time.Second)))
	if err != nil {
		b.fail(fmt.Errorf("%s: %w", expression, err))
	}
	return time.Since(began)
}

// media sets what the reader prefers.
func (b *browser) media(scheme, motion string) {
	b.t.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: motion}}
	if _, err := chromedp.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		b.fail(err)
	}
}

// shot keeps what is to be seen, for a person.
func (b *browser) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("LAB_TEST_PICTURES")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b, chromedp.CaptureScreenshot())
	if err != nil {
		b.fail(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// TestBrowser: the page in a real browser, on recorded facts.
func TestBrowser(t *testing.T) {
	b, s := start(t), record(t)
	server, _ := serve(t, s)
	b.media("light", "no-preference")
	b.run(chromedp.Navigate(server.URL))
	b.until(`document.querySelector("#verdict").textContent === "✓ all conditions hold"`)
	for _, says := range []string{"10.1.127.192", "192.168.4.0/24", "BGP Established", "etcd-node"} {
		b.until(`document.querySelector("#picture svg").textContent.includes("` + says + `")`)
	}
	b.shot("page-light")
	b.media("dark", "no-preference")
	const background = `getComputedStyle(document.body).backgroundColor`
	dark := value[string](b, background)
	b.shot("page-dark")
	b.media("light", "no-preference")
	if value[string](b, background) == dark {
		t.Errorf("dark and light are both %s", dark)
	}

	// BGP is cut, and comes back.
	s.facts.Store(cut(t))
	if took := b.until(`document.querySelector("#verdict").className === "wrong" && document.querySelector(".session.bad") !== null`); took > 3*time.Second {
		t.Errorf("that BGP was cut is seen after %s", took)
	}
	b.until(`document.querySelector("#unmet").textContent.includes("not Established with 192.168.4.6")`)
	b.until(`document.querySelector("#unmet code").textContent === "go tool mage ssh calico1 sudo calicoctl node status"`)
	b.until(`document.querySelector("#changes").textContent.includes("route 10.1.86.64/26 via 192.168.4.6")`)
	b.until(`document.querySelector(".session.fresh") !== null`)
	b.shot("page-cut")
	s.facts.Store(recorded.Lab(t, wellFile))
	if took := b.until(`document.querySelector("#verdict").className === "good"`); took > 3*time.Second {
		t.Errorf("that BGP is back is seen after %s", took)
	}
	b.keyboard()
	b.packet()
}

// keyboard goes through the page without a mouse.
func (b *browser) keyboard() {
	b.t.Helper()
	const at = `document.activeElement.id === `
	b.run(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Tab))
	b.until(at + `"tab-topology"`)
	b.run(chromedp.KeyEvent(kb.ArrowRight))
	b.until(at + `"tab-bgp" && document.querySelector("#picture svg").textContent.includes("all Established")`)
	b.shot("page-bgp")
	b.run(chromedp.KeyEvent(kb.ArrowRight))
	b.until(`document.querySelector("#picture svg").textContent.includes("blocks of 1024")`)
	b.shot("page-blocks")
	b.run(chromedp.KeyEvent(kb.ArrowRight), chromedp.KeyEvent(kb.Tab))
	b.until(at + `"machine-etcd-node"`)
	b.run(chromedp.KeyEvent(kb.ArrowDown))
	b.until(at + `"machine-calico2" || ` + at + `"machine-calico1"`)
	b.run(chromedp.KeyEvent(kb.ArrowLeft))
	b.until(at + `"machine-calico1"`)
	b.until(`document.activeElement.getAttribute("aria-label").startsWith("calico1, 192.168.4.5")`)
	b.run(chromedp.KeyEvent(kb.Enter))
	b.until(`document.querySelector("#panel").textContent.includes("10.1.86.64/26 via 192.168.4.6 dev host0 proto birdBIRD, learned by BGP")`)
	b.shot("page-machine")
	b.run(chromedp.KeyEvent(kb.Escape))
	b.until(at + `"machine-calico1" && document.querySelector("#panel h2").textContent === "All is well"`)
}

// packet sends one between two workloads, with the mouse.
func (b *browser) packet() {
	b.t.Helper()
	b.run(chromedp.Click(chromedp.CSS(`[id="workload-calico1/workload"]`)))
	b.until(`document.querySelector("#said").textContent.includes("10.1.127.192 is calico1/workload's, from block 10.1.127.192/26 of calico1")`)
	b.shot("page-workload")
	b.run(chromedp.Click(chromedp.CSS("#send")))
	b.until(`document.querySelectorAll(".steps li").length === 12 && document.querySelectorAll(".overlay .trail").length > 3`)
	b.shot("page-packet")
	b.until(`document.querySelector('.steps li[aria-current="step"] .n').textContent === "12"`)
	b.media("dark", "reduce")
	b.run(chromedp.Click(chromedp.CSS("#play")))
	b.until(`document.querySelector('.steps li[aria-current="step"] .n').textContent === "1" && document.querySelectorAll(".overlay .trail").length === 0`)
	b.run(chromedp.Click(chromedp.CSS("#next")), chromedp.Click(chromedp.CSS("#next")), chromedp.Click(chromedp.CSS("#next")))
	b.until(`document.querySelector('.steps li[aria-current="step"] .n').textContent === "4"`)
	b.shot("page-packet-dark")
}

// TestBrowserFifty: fifty nodes are readable, and none is missing.
func TestBrowserFifty(t *testing.T) {
	b, s := start(t), record(t)
	var facts = s.facts.Load()
	s.lab, facts = recorded.Grown(s.lab, facts, 50)
	s.facts.Store(facts)
	server, _ := serve(t, s)
	b.media("light", "no-preference")
	b.run(chromedp.Navigate(server.URL))
	b.until(`document.querySelectorAll("#picture .machine").length === 51 && document.querySelectorAll("#picture .workload").length === 50`)
	b.until(`Math.min(...[...document.querySelectorAll("#picture .name, #picture .small")].map((t) => t.getBoundingClientRect().height)) >= 9`)
	b.shot("fifty-light")
	b.run(chromedp.Click(chromedp.CSS("#tab-bgp")))
	b.until(`document.querySelectorAll("#picture .session").length === 1225`)
	b.shot("fifty-bgp")
	b.run(chromedp.Click(chromedp.CSS("#tab-blocks")))
	b.until(`document.querySelector("#picture svg").textContent.includes("50 blocks of 1024")`)
	b.shot("fifty-blocks")
}

// TestLive: the page on a real lab. LAB_TEST_CUT and LAB_TEST_MEND are command lines that cut BGP and bring it back.
func TestLive(t *testing.T) {
	url := os.Getenv(urlVariable)
	if url == "" {
		t.Skip("no view of a lab is named in " + urlVariable)
	}
	b := start(t)
	b.media("light", "no-preference")
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	b.run(chromedp.Navigate(url))
	b.until(`document.querySelector("#verdict").className === "good"`)
	b.shot("live-light")
	for _, x := range []struct{ variable, class string }{{"LAB_TEST_CUT", "wrong"}, {"LAB_TEST_MEND", "good"}} {
		session := map[string]string{"wrong": `document.querySelector(".session.bad") !== null`, "good": `document.querySelector(".session.ok") !== null`}[x.class]
		line := exec.CommandContext(b, "sh", "-c", os.Getenv(x.variable))
		if out, err := line.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		took := b.until(session)
		t.Logf("%s: the page shows it %s after the command ended", x.variable, took.Round(10*time.Millisecond))
		if took > 3*time.Second {
			t.Errorf("%s is seen after %s", x.variable, took)
		}
		b.until(`document.querySelector("#verdict").className === "` + x.class + `"`)
		b.shot("live-" + x.class)
	}
}
