package machine

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
)

// UserKeyFile is the file of the private key that opens every machine, in the lab's state directory.
const UserKeyFile = "id_ed25519"

// UserKey reads the lab's user key, and makes one if there is none yet.
func UserKey(stateDir string) (ssh.Signer, error) {
	path := filepath.Join(stateDir, UserKeyFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		private, _, err := NewKey("calico-cni-lab")
		if err != nil {
			return nil, err
		}
		if err := keep.Write(path, private, 0o600); err != nil {
			return nil, err
		}
		data = private
	} else if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; go tool mage destroy, then go tool mage verify makes a new one", path, err)
	}
	return key, nil
}

// NewKey makes an Ed25519 key: the private part in OpenSSH's file format, the public one as it is in
// authorized_keys.
func NewKey(comment string) (private []byte, public ssh.PublicKey, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(priv, comment)
	if err != nil {
		return nil, nil, err
	}
	public, err = ssh.NewPublicKey(pub)
	return pem.EncodeToMemory(block), public, err
}

// SaveHostKey pins a machine's public host key: no other is accepted from now on.
func SaveHostKey(stateDir, machine string, key ssh.PublicKey) error {
	return keep.Write(hostKeyFile(stateDir, machine), ssh.MarshalAuthorizedKey(key), 0o644)
}

// ForgetHostKey is for a machine that is gone: the next one of its name has another key.
func ForgetHostKey(stateDir, machine string) error {
	return keep.Remove(hostKeyFile(stateDir, machine))
}

// HostKey returns a machine's public host key; ErrNotUp where none is kept.
func HostKey(stateDir, machine string) (ssh.PublicKey, error) {
	data, err := os.ReadFile(hostKeyFile(stateDir, machine))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotUp
	}
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(data)
	return key, err
}

func hostKeyFile(stateDir, machine string) string {
	return filepath.Join(stateDir, "host-keys", machine+".pub")
}
