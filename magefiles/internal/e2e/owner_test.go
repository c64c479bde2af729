//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// somebody is the number of a user that this computer doesn't have.
const somebody = 54321

// root is what a command line begins with that root is to run.
func root() []string {
	if os.Geteuid() == 0 {
		return nil
	}
	return []string{"sudo", "-n", "-E"}
}

// asRoot runs a shell script on this computer.
func (l *lab) asRoot(script string, args ...string) string {
	l.t.Helper()
	cmd := append(append(root(), "bash", "-ec", script, "test"), args...)
	out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// beside is a lab of the same name in another checkout.
func (l *lab) beside() *lab {
	l.t.Helper()
	other := *l
	other.dir = l.t.TempDir()
	yaml, err := os.ReadFile(filepath.Join(l.dir, "lab.yaml"))
	if err != nil {
		l.t.Fatal(err)
	}
	other.write(string(yaml))
	return &other
}

// otherUser: who may not look into the directory that a lab belongs to, as into most home directories, doesn't take it for gone.
func otherUser(l *lab) {
	other := l.beside()
	dir, err := os.MkdirTemp("", "calico-cni-lab-somebody.") // all may go there, unlike t.TempDir
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { l.asRoot(`rm -rf -- "$1"`, dir) })
	l.asRoot(`cp "$1/mage" "$2/lab.yaml" "$3"; chown -R $4:$4 "$3"; chmod 700 "$1" "$3"`, l.dir, other.dir, dir, fmt.Sprint(somebody))
	other.dir, other.mage = dir, filepath.Join(dir, "mage")
	other.prefix = append(root(), "setpriv", fmt.Sprintf("--reuid=%d", somebody), fmt.Sprintf("--regid=%d", somebody), "--clear-groups",
		"env", "HOME="+dir, "XDG_CACHE_HOME=", "PATH="+os.Getenv("PATH"))
	for _, target := range []string{"status", "check", "stop", "verify"} {
		l.has(other.fails(target), fmt.Sprintf("the lab name %q is in use by the lab in %s, of the user ", l.name, l.dir), "another name in lab.yaml",
			"LAB_TAKE_OVER="+l.name)
	}
	l.holds()
}

// leftOver: only a lab whose directory is certainly gone is nobody's; for another one somebody has to say so, and never one that is there.
func leftOver(l *lab) {
	other := l.beside()
	name := l.name + "-left"
	other.change("name: "+l.name, "name: "+name)
	home := "/var/lib/calico-cni-lab/labs/" + name
	me, gone := os.Getuid(), filepath.Join(l.t.TempDir(), "checkout", ".lab")
	mount := l.asRoot(`echo "$(stat -c %m -- "$1") $(stat -f -c %i -- "$1")"`, filepath.Dir(filepath.Dir(gone)))
	for _, c := range []struct {
		what     string
		stateDir string
		uid      int
		mount    string
		want     string // "": destroy removes it
		say      string // after LAB_TAKE_OVER says that it is gone; "": destroy removes it
	}{
		{"mine, gone", gone, me, mount, "", ""},
		{"mine, there", filepath.Join(l.dir, ".lab"), me, mount, "destroy it there", "destroy it there"},
		{"mine, not mounted", gone, me, "/home 1234567890abcdef", "may not be mounted", ""},
		{"mine, can't be seen", "/proc/self/cmdline/.lab", me, mount, "can't be seen", "can't be seen"},
		{"somebody's, gone", gone, somebody, mount, "of the user 54321", ""},
		{"somebody's, there", filepath.Join(l.dir, ".lab"), somebody, mount, "destroy it there", "destroy it there"},
		{"of an older version, gone", gone, -1, "", "an unknown user", ""},
	} {
		owner := fmt.Sprintf("%s\n%d\n%s\n", c.stateDir, c.uid, c.mount)
		if c.uid < 0 {
			owner = c.stateDir
		}
		l.asRoot(`mkdir -p "$1/calico1"; printf %s "$2" >"$1/owner"; echo precious >"$1/calico1/layers"`, home, owner)
		l.part(c.what, func(l *lab) {
			o := *other
			o.t = l.t
			l.has(o.fails("verify"), fmt.Sprintf("the lab name %q is in use by the lab in %s", name, filepath.Dir(c.stateDir)))
			if c.want != "" {
				l.has(o.fails("destroy"), c.want)
				if _, err := os.Stat(filepath.Join(home, "calico1", "layers")); err != nil {
					l.t.Fatalf("it was touched: %v", err)
				}
				o.env = append(slices.Clone(o.env), "LAB_TAKE_OVER="+name)
			}
			if c.say != "" {
				l.has(o.fails("destroy"), c.say)
			} else {
				l.has(o.ok("destroy"), "removing what is left of the lab in "+filepath.Dir(c.stateDir), "is gone")
			}
			if _, err := os.Stat(filepath.Join(home, "calico1", "layers")); (err == nil) != (c.say != "") {
				l.t.Errorf("left: %v", err)
			}
		})
		l.asRoot(`rm -rf -- "$1"`, home)
	}
	l.holds()
}

// strangeNamespace: a network namespace that has the lab's name and isn't the lab's.
func strangeNamespace(l *lab) {
	other := l.beside()
	name := l.name + "-ns"
	other.change("name: "+l.name, "name: "+name)
	l.asRoot(`ip netns add "$1"`, name)
	l.t.Cleanup(func() { l.asRoot(`ip netns del "$1"`, name) })
	for _, target := range []string{"verify", "destroy"} {
		l.has(other.fails(target), fmt.Sprintf("there is a network namespace %q that no lab made", name), "ip netns del "+name)
	}
	// The lab is there, its own namespace went with a reboot.
	home := "/var/lib/calico-cni-lab/labs/" + name
	l.asRoot(`mkdir -p "$1"; printf '%s\n%s\n' "$2" "$3" >"$1/owner"; echo another-boot >"$1/netns"`, home, filepath.Join(other.dir, ".lab"), fmt.Sprint(os.Getuid()))
	l.has(other.fails("verify"), "there is a network namespace "+name+" that this lab didn't make")
	l.has(other.ok("destroy"), "is gone")
	l.asRoot(`ip -n "$1" link show lo; ! [ -e "$2" ]`, name, home)
}

// abandoned: a real lab whose checkout was removed is removed from another one, machines and all.
func abandoned(l *lab) {
	away := filepath.Join(l.dir, ".lab-away")
	if err := os.Rename(filepath.Join(l.dir, ".lab"), away); err != nil {
		l.t.Fatal(err)
	}
	other := l.beside()
	l.has(other.fails("verify"), "in use by the lab in "+l.dir, "If that directory is gone for good", "go tool mage destroy")
	l.has(other.ok("destroy"), "removing what is left of the lab in "+l.dir)
	l.nothingLeft()
	if err := os.RemoveAll(away); err != nil {
		l.t.Fatal(err)
	}
}

// TestClean: clean in a mount namespace of its own, where nobody else's cache is.
func TestClean(t *testing.T) {
	if testing.Short() {
		t.Skip("needs root")
	}
	l := newLab(t, "nspawn")
	dir, err := os.MkdirTemp("", "calico-cni-lab-clean.") //nolint:usetesting // files of root are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.asRoot(`rm -rf --one-file-system -- "$1"`, dir) })
	cache, trees := filepath.Join(dir, "lab-cache"), filepath.Join(dir, "var", "cache", "0")
	artifact, tree := filepath.Join(cache, "x-0123456789abcdef"), filepath.Join(trees, "box-0123456789abcdef")
	layers := filepath.Join(dir, "var", "labs", "other", "calico1", "layers")
	l.asRoot(`mkdir -p /var/lib/calico-cni-lab "$1/root" "$2/root/etc" "$3" "$4/cache/54321/box-0123456789abcdef"
touch "$6/lock"; chmod 644 "$6/lock"
echo "$5" >"$3/layers"; chmod 600 "$3/layers"; printf '%s\n' /home/somebody/.lab 54321 >"$3/../owner"`,
		artifact, tree, filepath.Dir(layers), filepath.Join(dir, "var"), "/var/lib/calico-cni-lab/cache/54321/box-0123456789abcdef/root", trees)
	l.prefix = append(root(), "unshare", "--mount", "--propagation", "private", "--", "bash", "-c",
		`mount --bind "$0" /var/lib/calico-cni-lab && exec "$@"`, filepath.Join(dir, "var"))
	there := func(paths ...string) {
		t.Helper()
		l.asRoot(`for p; do [ -e "$p" ] || { echo "$p is gone"; exit 1; }; done`, paths...)
	}
	t.Setenv("LAB_CACHE", l.dir)
	for _, target := range []string{"clean", "verify"} {
		l.has(l.fails(target), l.dir+" can't be the lab's cache: it has other things in it, such as ", "name another directory in LAB_CACHE")
	}
	there(filepath.Join(l.dir, "lab.yaml"), tree)

	t.Setenv("LAB_CACHE", cache)
	lock, err := os.Open(filepath.Join(trees, "lock")) // another run uses it
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	l.has(l.fails("clean"), "another run is using the cache ", "wait for it to end")
	there(artifact, tree)
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	l.asRoot(`echo "$2:/var/lib/calico-cni-lab/cache/0/box-0123456789abcdef/root" >"$1"`, layers, "/somewhere") // now it stands on this cache
	l.has(l.fails("clean"), "in use by the lab in /home/somebody; destroy it there first")
	there(artifact, tree)

	l.asRoot(`rm -r "$1"`, filepath.Join(dir, "var", "labs", "other"))
	l.has(l.ok("clean"), "the cache is empty")
	there(filepath.Join(dir, "var", "cache", "54321", "box-0123456789abcdef"))
	l.asRoot(`for p; do ! [ -e "$p" ] || { echo "$p is left"; exit 1; }; done`, cache, trees, filepath.Join(dir, "var", "labs"), filepath.Join(l.dir, ".lab"))
	l.has(l.ok("clean"), "the cache is empty")

	// Vagrant's machines stand on a box, whatever there is here of root's.
	vagrant, project := filepath.Join(dir, "vagrant"), filepath.Join(dir, "project")
	l.asRoot(`mkdir -p "$1/data/machine-index" "$2/.vagrant/machines/calico1/libvirt" && touch "$2/.vagrant/machines/calico1/libvirt/id" && echo "$3" >"$1/data/machine-index/index"`,
		vagrant, project, `{"machines":{"x":{"name":"calico1","provider":"libvirt","local_data_path":"`+project+`/.vagrant","extra_data":{"box":{"name":"calico-cni-lab"}}}}}`)
	t.Setenv("VAGRANT_HOME", vagrant)
	l.has(l.fails("clean"), "in use by the lab in "+project)
}
