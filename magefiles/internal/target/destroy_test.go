package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
)

// TestConfirm: without a terminal nobody can say yes.
func TestConfirm(t *testing.T) {
	if err := confirm(t.Context(), "this removes it", true); err != nil {
		t.Error(err)
	}
	in, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	stdin := os.Stdin
	defer func() { os.Stdin = stdin; in.Close() }()
	os.Stdin = in
	if err := confirm(t.Context(), "this removes it", false); err == nil || !strings.HasPrefix(err.Error(), "this removes it; ") || !strings.HasSuffix(err.Error(), "go tool mage destroy -force") {
		t.Error(err)
	}
}

// TestAnswer: nothing but a yes is one, and SIGTERM, which ends the context, ends the waiting for it.
func TestAnswer(t *testing.T) {
	for text, want := range map[string]bool{"y\n": true, " YES \n": true, "n\n": false, "\n": false, "": false, "yesterday\n": false} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, text)
		w.Close()
		if err := answer(t.Context(), r); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
		r.Close()
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(run.ErrInterrupted) })
	if err := answer(ctx, r); !errors.Is(err, run.ErrInterrupted) {
		t.Errorf("interrupted: %v", err)
	}
}

// made makes the lab of a run as its file has it, with a host key of each of the named machines, who all answer at a closed port.
func made(t *testing.T, r *run.Run, names ...string) machine.Plan {
	t.Helper()
	l, err := lab.Load(r.LabFile)
	if err != nil {
		t.Fatal(err)
	}
	plan := machine.NewPlan("ssh", l)
	private, public, err := machine.NewKey("test")
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, private, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range plan.Machines {
		plan.Machines[i].SSH = lab.SSH{Address: "127.0.0.1", Port: 1, User: "netadmin", Key: key}
	}
	if err := plan.Write(r.StateDir); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := machine.SaveHostKey(r.StateDir, name, public); err != nil {
			t.Fatal(err)
		}
	}
	return plan
}

// TestDestroyForgets: a lab whose machines are all gone for good is given up, one by one.
func TestDestroyForgets(t *testing.T) {
	r := newRun(t)
	made(t, r, "calico1", "calico2")
	if err := os.WriteFile(r.LabFile, []byte("name: [this is not\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := Destroy(t.Context(), r, DestroyOptions{Force: true, Forget: []string{"calico9"}})
	if err == nil || !strings.Contains(err.Error(), `there is no machine "calico9"; there are etcd-node, calico1, calico2`) {
		t.Errorf("no such machine: %v", err)
	}
	err = Destroy(t.Context(), r, DestroyOptions{Forget: []string{"calico1"}})
	for _, part := range []string{"this undoes what the lab did on calico2", "this forgets calico1: what the lab did there stays", "go tool mage destroy -force"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("without -force: %v", err)
		}
	}
	if _, err := machine.HostKey(r.StateDir, "calico1"); err != nil {
		t.Errorf("it was forgotten without a yes: %v", err)
	}
	if err := Destroy(t.Context(), r, DestroyOptions{Force: true, Forget: []string{"calico1", "calico2"}}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.StateDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}

// TestDestroyLeft: a machine that can't be entered keeps what is needed to do it later, and is named with the reason and the commands.
func TestDestroyLeft(t *testing.T) {
	r := newRun(t)
	plan := made(t, r, "calico2")
	plan.Machines[2].SSH.Key = "/no/such/key"
	if err := plan.Write(r.StateDir); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(r.LabFile); err != nil {
		t.Fatal(err)
	}
	err := Destroy(t.Context(), r, DestroyOptions{Force: true})
	for _, part := range []string{
		"nothing was undone; it is still on calico2:", "open /no/such/key", "finish it: go tool mage destroy -force\n", "go tool mage destroy -force -forget=calico2",
	} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("no %q in: %v", part, err)
		}
	}
	if _, exists, err := r.Plan(); !exists || err != nil {
		t.Errorf("the plan: %t, %v", exists, err)
	}
	if logs, err := filepath.Glob(r.StateDir + "/logs/*.log"); err != nil || len(logs) == 0 {
		t.Errorf("the logs: %v, %v", logs, err)
	}
}

// TestLeft names what is done, what isn't, and what to type.
func TestLeft(t *testing.T) {
	all := []remote.Endpoint{{Machine: "a"}, {Machine: "b"}, {Machine: "c"}}
	if err := left(all, make([]error, 3)); err != nil {
		t.Error(err)
	}
	got := left(all, []error{errors.New("no answer"), nil, errors.New("another key")})
	want := "what the lab did on b is undone; it is still on a, c:\n  a: no answer\n  c: another key\n" +
		"when that is mended, finish it: go tool mage destroy -force\n" +
		"a machine that is gone for good, or was installed anew: go tool mage destroy -force -forget=a,c"
	if got == nil || got.Error() != want {
		t.Errorf("%v", got)
	}
}

// TestToDestroy: how a machine is entered is what lab.yaml says now, as long as it can be read and means the same machine.
func TestToDestroy(t *testing.T) {
	r := newRun(t)
	kept := made(t, r)
	plan, exists, err := toDestroy(t.Context(), r)
	if err != nil || !exists || plan.Machines[1].SSH != (lab.SSH{}) {
		t.Errorf("%+v, %t, %v", plan, exists, err)
	}
	text, err := os.ReadFile(r.LabFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"damaged": "name: [", "another machine": strings.Replace(string(text), "192.168.4.5", "192.168.4.15", 1)} {
		if err := os.WriteFile(r.LabFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if plan, _, err := toDestroy(t.Context(), r); err != nil || plan.Machines[1] != kept.Machines[1] {
			t.Errorf("%s: %+v, %v", name, plan, err)
		}
	}
}
