package shell

import "golang.org/x/sys/unix"

// zombie is SZOMB of <sys/proc.h>: it has ended, and isn't waited for yet.
const zombie = 5

// gone says whether the shell's process here has ended. It isn't waited for yet, so its ID is nobody else's.
func (s *Shell) gone() bool {
	p, err := unix.SysctlKinfoProc("kern.proc.pid", s.cmd.Process.Pid)
	return err == nil && p.Proc.P_stat == zombie
}
