package machine

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"

	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// SSHConfigFile is the file for `ssh -F`, in the lab's state directory.
const SSHConfigFile = "ssh_config"

// WriteSSHConfig writes ssh_config and known_hosts for OpenSSH and everything that is built on it.
func WriteSSHConfig(stateDir string, endpoints []remote.Endpoint) error {
	var known, config bytes.Buffer
	fmt.Fprintf(&config, "# Made by `go tool mage up`. Use: ssh -F %s MACHINE\n", filepath.Join(stateDir, SSHConfigFile))
	for _, e := range endpoints {
		fmt.Fprintln(&known, knownhosts.Line([]string{e.Machine}, e.HostKey))
		fmt.Fprintf(&config, "\nHost %s\n  User %s\n  HostKeyAlias %s\n", e.Machine, e.User, e.Machine)
		for _, k := range e.Keys {
			if k.File == "" { // one of ssh-agent's
				fmt.Fprint(&config, "  IdentitiesOnly no\n")
				break
			}
			fmt.Fprintf(&config, "  IdentityFile %q\n", k.File)
		}
		if e.Network == "unix" {
			fmt.Fprintf(&config, "  HostName localhost\n  ProxyCommand socat - UNIX-CONNECT:%s\n", command.Quote(e.Address))
			continue
		}
		host, port, err := net.SplitHostPort(e.Address)
		if err != nil {
			return err
		}
		fmt.Fprintf(&config, "  HostName %s\n  Port %s\n", host, port)
	}
	fmt.Fprintf(&config, "\nHost *\n  IdentitiesOnly yes\n  UserKnownHostsFile %q\n"+
		"  StrictHostKeyChecking yes\n  PasswordAuthentication no\n  LogLevel ERROR\n",
		filepath.Join(stateDir, "known_hosts"))
	if err := WriteFile(filepath.Join(stateDir, "known_hosts"), known.Bytes(), 0o644); err != nil {
		return err
	}
	return WriteFile(filepath.Join(stateDir, SSHConfigFile), config.Bytes(), 0o644)
}
