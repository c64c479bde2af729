// Package backup is backups of a lab's datastore: files that are snapshots of etcd's, as `etcdctl snapshot save` writes them, too.
package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// Write writes a snapshot to a new file that nobody else may read: who may read it knows what the datastore knows.
func Write(file string, snapshot []byte) error {
	if err := whole(snapshot); err != nil {
		return fmt.Errorf("what etcd sent is no whole snapshot: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and no backup is overwritten; name another file", file)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(snapshot)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}

// whole checks a snapshot against the hash at its end, which etcd puts there.
func whole(snapshot []byte) error {
	const page = 512 // a database is a multiple of it
	n := len(snapshot) - sha256.Size
	if n <= 0 || n%page != 0 {
		return fmt.Errorf("%d bytes are no database with its hash", len(snapshot))
	}
	if sum := sha256.Sum256(snapshot[:n]); !bytes.Equal(sum[:], snapshot[n:]) {
		return errors.New("its contents and its hash don't belong together")
	}
	return nil
}

// Read returns what the datastore had when a backup was made, sorted by key: without what etcd forgets by itself, a lease's.
func Read(file string) ([]fact.KeyValue, error) {
	all, err := read(file)
	if err != nil {
		return nil, fmt.Errorf("%s is no backup that can be restored; nothing was changed: %w", file, err)
	}
	return all, nil
}

func read(file string) ([]fact.KeyValue, error) {
	snapshot, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := whole(snapshot); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	have := map[string]fact.KeyValue{}
	err = db.View(func(tx *bbolt.Tx) error {
		revisions := tx.Bucket([]byte("key"))
		if revisions == nil {
			return errors.New("it is a database, and not etcd's")
		}
		return revisions.ForEach(func(revision, value []byte) error {
			e, err := parse(value)
			switch {
			case err != nil:
				return err
			case isTombstone(revision) || e.lease:
				delete(have, e.Key)
			default:
				have[e.Key] = e.KeyValue
			}
			return nil
		})
	})
	var all []fact.KeyValue
	for _, kv := range have {
		all = append(all, kv)
	}
	slices.SortFunc(all, func(a, b fact.KeyValue) int { return strings.Compare(a.Key, b.Key) })
	return all, err
}

// isTombstone: a revision is 8 bytes, an underscore, 8 bytes, and a t where a key was deleted (etcd, server/storage/mvcc).
func isTombstone(revision []byte) bool {
	const written = 17
	return len(revision) > written && revision[written] == 't'
}

type entry struct {
	fact.KeyValue
	lease bool
}

// parse decodes mvccpb.KeyValue (etcd, api/mvccpb/kv.proto), a message of protobuf's.
func parse(m []byte) (e entry, err error) {
	broken := errors.New("it has an entry that can't be read")
	for len(m) > 0 {
		key, n := binary.Uvarint(m)
		if n <= 0 {
			return e, broken
		}
		m = m[n:]
		number, n := binary.Uvarint(m)
		if n <= 0 {
			return e, broken
		}
		m = m[n:]
		const keyField, valueField, leaseField = 1<<3 | 2, 5<<3 | 2, 6 << 3
		if key&7 == 2 {
			if number > uint64(len(m)) {
				return e, broken
			}
			switch key {
			case keyField:
				e.Key = string(m[:number])
			case valueField:
				e.Value = bytes.Clone(m[:number])
			}
			m = m[number:]
		} else if key&7 != 0 {
			return e, broken
		}
		e.lease = e.lease || key == leaseField && number != 0
	}
	return e, nil
}

// Fits says why a backup isn't one of a lab: it has other nodes or another pool.
func Fits(all []fact.KeyValue, l *lab.Lab) error {
	d, err := fact.ParseDatastore(all)
	if err != nil {
		return fmt.Errorf("the backup can't be read; nothing was changed: %w", err)
	}
	var faults []string
	if len(d.Nodes) == 0 {
		faults = append(faults, "it has no Calico node")
	}
	for _, n := range d.Nodes {
		if m, ok := l.Machine(n.Name); !ok || m.Role != lab.RoleCalico {
			faults = append(faults, "its node "+n.Name+" is none of lab.yaml's")
		} else if n.Address.IsValid() && n.Address.Addr() != m.Address {
			faults = append(faults, fmt.Sprintf("its node %s has %s, not %s", n.Name, n.Address.Addr(), m.Address))
		}
	}
	for _, p := range d.Pools {
		if p.Name != l.Pool.Name && p.CIDR.Overlaps(l.Pool.CIDR) || p.Name == l.Pool.Name && (p.CIDR != l.Pool.CIDR || p.BlockSize != l.Pool.BlockSize) {
			faults = append(faults, fmt.Sprintf("its pool %s is %s in blocks of /%d, lab.yaml's %s %s in blocks of /%d", p.Name, p.CIDR, p.BlockSize, l.Pool.Name, l.Pool.CIDR, l.Pool.BlockSize))
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("the backup is another lab's; nothing was changed: %s", check.Names(faults))
	}
	return nil
}
