package secret

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// keys are private keys in the files' formats that there are.
func keys(t *testing.T) map[string]string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	add := func(name string, block *pem.Block, err error) {
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(pem.EncodeToMemory(block))
	}
	openSSH, err := ssh.MarshalPrivateKey(key, "x")
	add("OpenSSH", openSSH, err)
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(key, "x", []byte("passphrase"))
	add("OpenSSH, encrypted", locked, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	add("PKCS #8", &pem.Block{Type: "PRIVATE KEY", Bytes: der}, err)
	long := make([]byte, 1200)
	_, err = rand.Read(long)
	add("PKCS #8, encrypted", &pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: long}, err)
	add("RSA, encrypted", &pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: long}, nil)
	add("EC", &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}, nil)
	all["PGP"] = strings.ReplaceAll(all["PKCS #8, encrypted"], "ENCRYPTED PRIVATE KEY", "PGP PRIVATE KEY BLOCK")
	all["RFC 4716"] = strings.NewReplacer("-----BEGIN ENCRYPTED", "---- BEGIN SSH2 ENCRYPTED", "-----END ENCRYPTED", "---- END SSH2 ENCRYPTED", "KEY-----", "KEY ----").Replace(all["PKCS #8, encrypted"])
	return all
}

// TestKeys: of a private key nothing is left, in whatever text it stands and wherever it was cut, and all that is around it is.
func TestKeys(t *testing.T) {
	for name, key := range keys(t) {
		lines := strings.Split(strings.TrimSpace(key), "\n")
		quoted, err := json.Marshal(key)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := json.Marshal(string(quoted))
		if err != nil {
			t.Fatal(err)
		}
		marks := func(mark string, lines []string) string { return mark + strings.Join(lines, "\n"+mark) + "\n" }
		for where, text := range map[string]string{
			"alone":                     key,
			"in JSON":                   `{"a": "before", "key": ` + string(quoted) + `, "b": "after"}`,
			"in JSON in JSON":           `{"a": "before", "key": ` + string(twice) + `, "b": "after"}`,
			"in a journal":              "before\n" + marks("Nov 24 20:00:01 calico1 app[77]: ", lines) + "Nov 24 20:00:02 calico1 app[77]: after\n",
			"in the run's log":          "before\n" + marks("    out| ", lines) + "20:00:00.000 after\n",
			"in YAML":                   "before: 1\nkey: |\n" + marks("  ", lines) + "after: 1\n",
			"with CR":                   "before\n" + strings.ReplaceAll(key, "\n", "\r\n") + "after\n",
			"its end is cut off":        "before\n" + strings.Join(lines[:len(lines)-1], "\n") + "\nafter comes this\n",
			"its end is cut off, JSON":  `{"a": "before", "k": "` + strings.Join(lines[:len(lines)-1], `\n`) + `", "b": "after"}`,
			"cut in the middle":         "before, after\n" + key[:len(lines[0])+70],
			"its start is cut off":      "before that\n" + marks("    out| ", lines[1:]) + "after\n",
			"its start is cut off, too": "before that\n" + marks("", lines[1:]) + "after\n",
			"twice":                     "before\n" + key + key + "after\n",
		} {
			got := Mask(text)
			for _, line := range lines {
				if len(line) > 2 && strings.Contains(got, line) {
					t.Errorf("%s %s: a line of it is left", name, where)
				}
			}
			if where != "alone" && (!strings.Contains(got, "before") || !strings.Contains(got, "after")) || !strings.Contains(got, MaskedKey) {
				t.Errorf("%s %s: what is around it is gone:\n%s", name, where, got)
			}
			if again := Mask(got); again != got {
				t.Errorf("%s %s: masked again it is another text:\n%s", name, where, again)
			}
		}
	}
}

// TestMask: hunter2 and what looks like a token goes, all else stays.
func TestMask(t *testing.T) {
	const jwt = "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0." + "c2lnbmF0dXJl"
	for text, want := range map[string]string{
		// Names.
		"DB_PASSWORD=hunter2 next":                     "DB_PASSWORD=(masked) next",
		`"Env": ["PGPASSWORD=hunter2 x","PATH=/bin"]`:  `"Env": ["PGPASSWORD=(masked)","PATH=/bin"]`,
		`{"password":"hunter2","user":"root"}`:         `{"password":"(masked)","user":"root"}`,
		`{\"password\":\"hunter2\",\"user\":\"root\"}`: `{\"password\":\"(masked)\",\"user\":\"root\"}`,
		"{'api_key': 'hunter2', 'n': 1}":               "{'api_key': '(masked)', 'n': 1}",
		"  clientSecret: hunter2 hunter2\n  next: 1":   "  clientSecret: (masked)\n  next: 1",
		"token: |\n  hunter2\n  hunter2\nnext: 1":      "token: |\n  (masked)\nnext: 1",
		"run --password hunter2 --verbose":             "run --password (masked) --verbose",
		"run --password=hunter2 --verbose":             "run --password=(masked) --verbose",
		"run -etcd-passphrase 'hunter2' x":             "run -etcd-passphrase '(masked)' x",
		`Environment="A_TOKEN=hunter2 x" B=1`:          `Environment="A_TOKEN=(masked)" B=1`,
		`  password "hunter2";`:                        `  password "(masked)";`,
		"ETCD_ROOT_PASSWORD=hunter2":                   "ETCD_ROOT_PASSWORD=(masked)",
		"ETCDCTL_USER=root:hunter2 etcdctl":            "ETCDCTL_USER=(masked) etcdctl",
		"etcdctl --user root:hunter2 get /":            "etcdctl --user root:(masked) get /",
		"curl -u 'me:hunter2' http://a/":               "curl -u 'me:(masked)' http://a/",
		"sshpass -p hunter2 ssh a":                     "sshpass -p (masked) ssh a",
		"PrivateKey = aHVudGVyMmh1bnRlcjI=":            "PrivateKey = (masked)",
		"GET /?access_token=hunter2&page=2":            "GET /?access_token=(masked)&page=2",
		"aws_secret_access_key = hunter2/hunter2":      "aws_secret_access_key = (masked)",
		// Forms.
		"Authorization: Basic aHVudGVyMg== x":           "Authorization: Basic (masked) x",
		"authorization=hunter2 x":                       "authorization=(masked) x",
		"with Bearer hunter2hunter2 done":               "with Bearer (masked) done",
		"got " + jwt + " from it":                       "got (masked) from it",
		"key AKIA" + "ABCDEFGHIJKLMNOP, region":         "key (masked), region",
		"ghp_" + strings.Repeat("a1B2", 9) + " pushed":  "(masked) pushed",
		"glpat-" + strings.Repeat("a1B2", 5) + " x":     "(masked) x",
		"AGE-SECRET-KEY-1" + strings.Repeat("QZ5", 19):  "(masked)",
		"https_proxy=http://me:hunter2@proxy.test:3128": "https_proxy=http://(masked)@proxy.test:3128",
		"http://me:hun@ter2@proxy.test/":                "http://(masked)@proxy.test/",
		"HTTP_PROXY=me:hunter2@proxy.test:3128 x":       "HTTP_PROXY=(masked)@proxy.test:3128 x",
		"postgres://db:hunter2@db.test/x?a=b":           "postgres://(masked)@db.test/x?a=b",
		"https://" + strings.Repeat("a1B2", 5) + "@a/b": "https://(masked)@a/b",
		"root:$y$j9T$" + strings.Repeat("aB1.", 10):     "root:(masked)",
	} {
		if got := Mask(text); got != want {
			t.Errorf("%q\nbecame %q\nnot    %q", text, got, want)
		}
	}
}

// TestUseful: what one looks for in an archive stays.
func TestUseful(t *testing.T) {
	for _, text := range []string{
		"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFzZGZhc2RmYXNkZmFzZGZhc2RmYXNkZmFzZGZhc2Rm me",
		"Accepted publickey for vagrant from 192.168.4.1 port 1 ssh2: ED25519 SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
		`"Image": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"`,
		"-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ0\n-----END CERTIFICATE-----\n",
		"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n",
		`"SandboxKey": "/var/run/docker/netns/c0ffee", "IPAddress": "10.1.127.192", "MacAddress": "ee:ee:ee:ee:ee:ee"`,
		"PWD=/root OLDPWD=/ PATH=/usr/bin HOME=/root ETCD_NAME=etcd ETCDCTL_API=3", "http_proxy=http://proxy.test:3128", "ssh://git@github.com/a/b",
		"hostKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", "    key: ~/.ssh/id_ed25519", "IdentityFile \"/x/.lab/id_ed25519\"", "PasswordAuthentication no",
		"Started systemd-ask-password-wall.path - Forward Password Requests to Wall Directory Watch.", "Failed password for root from 10.0.0.1 port 22 ssh2",
		"TOKEN_FILE=/run/secrets/token", `"CredentialSpec": "",`, "requirepass_auth: false", "docker run -u 1000:1000 --user 1000:1000 x",
		"10.1.86.64/26 via 192.168.4.6 dev host0 proto bird", "-A cali-FORWARD -m comment --comment \"cali:vjrMJCRpqwy5oRoX\" -j MARK --set-xmark 0x0/0xe0000",
		"etcd://192.168.4.7:2379 and http://[fe80::1]:2379/health, me@example.test", "  name: my.ippool-1", "tokenizer ready; no secrets here",
		"Basic configuration: bearer of news", "$1$2 costs",
	} {
		if got := Mask(text); got != text {
			t.Errorf("%q\nbecame %q", text, got)
		}
	}
}

// BenchmarkMask: what a run writes into its log costs next to nothing.
func BenchmarkMask(b *testing.B) {
	text := strings.Repeat(`{"ifindex":7,"ifname":"cali0123456789a","flags":["BROADCAST","UP"],"address":"ee:ee:ee:ee:ee:ee"}`+"\n", 1000) + "A_TOKEN=x\n"
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		Mask(text)
	}
}
