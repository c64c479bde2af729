//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// secrets are planted where a user's may be. None is a word of theirs that may stay.
const secrets = `
key=$(mktemp -u) && ssh-keygen -q -t ed25519 -N "" -C planted -f "$key"
sudo logger -t planted -f "$key"                                                # line by line
sudo logger -t planted "{\"key\": \"$(awk '{printf "%s\\n", $0}' "$key")\"}"       # in one line
sudo logger -t planted "PLANTED_PASSWORD=hunter2-journal https://me:hunter2-url@proxy.test:3128/ Authorization: Bearer hunter2-bearer-token"
sudo docker exec workload sh -c 'echo "db_token: hunter2-docker-log" >/proc/1/fd/1'
sudo docker run -d --name stranger --net none -e STRANGER_TOKEN=hunter2-env calico-cni-lab/workload:bookworm >/dev/null
sudo docker volume create stranger-volume >/dev/null
(exec -a "planted --password hunter2-process" sleep 300) </dev/null >/dev/null 2>&1 &
sed 1d "$key" | head -n 2 | tail -n 1   # a line of the key, to look for
cat "$key.pub"
rm "$key" "$key.pub"`

// logs: an archive has what one needs to understand a lab, and neither secrets nor strangers' containers.
func logs(l *lab) {
	archive := regexp.MustCompile(`\S+-logs-\S+\.tar\.gz`)
	line, public, _ := strings.Cut(l.ssh("calico1", secrets), "\n")
	back := l.change("# ", "# password: hunter2-yaml\n# ")
	run, err := filepath.Glob(filepath.Join(l.dir, ".lab", "logs", "*.log"))
	if err != nil || len(run) == 0 {
		l.t.Fatalf("no log of a run: %v", err)
	}
	if info, err := os.Stat(run[0]); err != nil || info.Mode().Perm() != 0o600 {
		l.t.Errorf("others may read the run's log: %v, %v", info.Mode(), err)
	}
	note := filepath.Join(l.dir, ".lab", "logs", "9999-note.log")
	if err := os.WriteFile(note, []byte("$ tool --api-key=hunter2-log\n"), 0o600); err != nil {
		l.t.Fatal(err)
	}
	file := archive.FindString(l.ok("logs"))
	back()
	l.ssh("calico1", "sudo docker rm -f stranger >/dev/null; sudo docker volume rm stranger-volume >/dev/null; pkill -f '^planted --password'")
	if err := os.Remove(note); err != nil {
		l.t.Fatal(err)
	}
	list, err := exec.Command("tar", "-tzf", file).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s: %v\n%s", file, err, list)
	}
	l.has(string(list), "/lab.yaml", "/status.txt", "-verify.log", "9999-note.log", "/facts.json", "/etcd-node/calicoctl.txt", "/calico1/journal.txt",
		"/calico1/bird.txt", "/calico2/iptables.txt", "/calico2/ip-route.txt", "/calico2/ipset.txt", "/calico2/docker-logs.txt")
	out, err := exec.Command("tar", "-xzOf", file).Output()
	if err != nil {
		l.t.Fatal(err)
	}
	text := string(out)
	l.has(text, "kind: IPPool", "kind: WorkloadEndpoint", "BGP state:          Established", "-A cali-FORWARD ", `"/workload"`, `"Image": "sha256:`,
		"10.1.86.64/26 via 192.168.4.6", "PLANTED_PASSWORD=(masked) https://(masked)@proxy.test:3128/", "db_token: (masked)", "--api-key=(masked)",
		"# password: (masked)", "planted --password (masked)", "(a private key was left out)")
	docker, err := exec.Command("tar", "-xzOf", file, "--wildcards", "*/facts.json", "*/docker-*.txt").Output()
	if err != nil || strings.Contains(string(docker), "stranger") || !strings.Contains(string(docker), "calico-node") {
		l.t.Errorf("a container or a volume that isn't the lab's is in it, or none is: %v", err)
	}
	keys, err := filepath.Glob(filepath.Join(l.dir, ".lab", "pki", "*.key"))
	if err != nil || len(keys) == 0 {
		l.t.Fatalf("the certificates have no keys: %v", err)
	}
	private := []string{"hunter2", "PRIVATE KEY", line}
	for _, key := range keys {
		pem, err := os.ReadFile(key)
		if err != nil {
			l.t.Fatal(err)
		}
		private = append(private, strings.Split(string(pem), "\n")[1])
	}
	for _, gone := range private {
		if i := strings.Index(text, gone); i >= 0 {
			l.t.Errorf("%q is in the archive: %s", gone, strings.ReplaceAll(text[max(0, i-80):i+len(gone)], line, "(the key's line)"))
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		l.t.Errorf("others may read it: %v", err)
	}
	if len(strings.Fields(public)) < 2 {
		l.t.Errorf("no public key: %q", public)
	}
	l.ssh("calico1", "sudo mv /usr/bin/jq /usr/bin/jq.away")
	failed := l.fails("verify")
	l.ssh("calico1", "sudo mv /usr/bin/jq.away /usr/bin/jq")
	if name := archive.FindString(failed); name == "" || name == file {
		l.t.Errorf("no archive of the failed run:\n%s", failed)
	}
}
