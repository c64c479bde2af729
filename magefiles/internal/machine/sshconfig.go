package machine

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"unicode"

	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// SSHConfigFile is the file for `ssh -F`, in the lab's state directory.
const SSHConfigFile = "ssh_config"

// unwritable says whether OpenSSH takes no file of that name from its configuration: a line ends there, and a variable can't be
// written otherwise (ssh_config(5), TOKENS and ENVIRONMENT VARIABLES).
func unwritable(file string) bool {
	return strings.Contains(file, "${") || strings.ContainsFunc(file, func(r rune) bool { return unicode.IsControl(r) })
}

// quoted is a file's name as a word of ssh_config.
func quoted(file string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(file) + `"`
}

// WriteSSHConfig writes ssh_config and known_hosts for OpenSSH and everything that is built on it.
func WriteSSHConfig(stateDir string, endpoints []remote.Endpoint) error {
	if unwritable(stateDir) {
		return fmt.Errorf("OpenSSH can't read from a directory of this name: %q; move the project to another", stateDir)
	}
	var known, config bytes.Buffer
	fmt.Fprintf(&config, "# Made by `go tool mage up`. Use: ssh -F %s MACHINE\n", filepath.Join(stateDir, SSHConfigFile))
	for _, e := range endpoints {
		if e.Err != nil {
			continue
		}
		fmt.Fprintln(&known, knownhosts.Line([]string{e.Machine}, e.HostKey))
		fmt.Fprintf(&config, "\nHost %s\n  User %s\n  HostKeyAlias %s\n", e.Machine, strings.ReplaceAll(e.User, `\`, `\\`), e.Machine)
		for _, k := range e.Keys {
			if k.File == "" { // one of ssh-agent's
				fmt.Fprint(&config, "  IdentitiesOnly no\n")
				break
			}
			fmt.Fprintf(&config, "  IdentityFile %s\n", quoted(k.File))
		}
		proxy := e.Proxy
		if e.Network == "unix" {
			proxy = []string{"socat", "-", "UNIX-CONNECT:" + e.Address}
		}
		if len(proxy) > 0 {
			fmt.Fprintf(&config, "  HostName localhost\n  ProxyCommand %s\n", strings.ReplaceAll(command.Quote(proxy...), "%", "%%"))
			continue
		}
		host, port, err := net.SplitHostPort(e.Address)
		if err != nil {
			return err
		}
		fmt.Fprintf(&config, "  HostName %s\n  Port %s\n", host, port)
	}
	fmt.Fprintf(&config, "\nHost *\n  IdentitiesOnly yes\n  UserKnownHostsFile %s\n"+
		"  StrictHostKeyChecking yes\n  PasswordAuthentication no\n  LogLevel ERROR\n",
		quoted(filepath.Join(stateDir, "known_hosts")))
	if err := keep.Write(filepath.Join(stateDir, "known_hosts"), known.Bytes(), 0o644); err != nil {
		return err
	}
	return keep.Write(filepath.Join(stateDir, SSHConfigFile), config.Bytes(), 0o644)
}
