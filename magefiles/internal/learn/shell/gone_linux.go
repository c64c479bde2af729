package shell

import "golang.org/x/sys/unix"

// gone says whether the shell's process here has ended. It isn't waited for yet, so its ID is nobody else's.
func (s *Shell) gone() bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, s.cmd.Process.Pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == nil && info.Signo != 0
}
