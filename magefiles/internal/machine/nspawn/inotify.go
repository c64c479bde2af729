package nspawn

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// The kernel counts inotify instances by user, and what is in a user namespace counts for the user who made it, too: for root,
// here (inotify(7), user_namespaces(7)). A machine for which none is left hangs at boot.
const (
	inotifyLimit   = "/proc/sys/fs/inotify/max_user_instances"
	inotifyMachine = 8  // of systemd, its logind, D-Bus and containerd; counted
	inotifyOthers  = 16 // for what root may start beside the machines
)

// instances prints how many inotify instances count for root: those of root's processes, and of users that only machines have.
const instances = `find /proc/[0-9]*/fd -lname anon_inode:inotify -printf '%U\n' 2>/dev/null | awk '$1 == 0 || $1 >= 524288 { n++ } END { print n + 0 }'`

// checkInotify refuses to boot machines for which no inotify instances are left. The limit is the user's to raise.
func (p *Provider) checkInotify(ctx context.Context, starting int) error {
	data, err := os.ReadFile(inotifyLimit)
	if err != nil {
		return nil //nolint:nilerr // a kernel without a limit
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return fmt.Errorf("%s: %w", inotifyLimit, err)
	}
	out, err := p.Run.Root(ctx, "bash", "-c", instances)
	if err != nil {
		return err
	}
	used, err := strconv.Atoi(out)
	if err != nil {
		return fmt.Errorf("counting inotify instances: %w", err)
	}
	return inotifyFault(limit, used, starting)
}

// inotifyFault says what is too little.
func inotifyFault(limit, used, starting int) error {
	need := used + starting*inotifyMachine + inotifyOthers
	if need <= limit {
		return nil
	}
	raised := 1024
	for raised < need {
		raised *= 2
	}
	return fmt.Errorf("this computer's kernel lets root have %d inotify instances: %d are in use, and %d machines take %d each, so they would hang at boot; "+
		"raise the limit: sudo sysctl fs.inotify.max_user_instances=%d", limit, used, starting, inotifyMachine, raised)
}
