"""What root on a machine would do to get at the computer that the machine is on. Nothing is harmed where it succeeds: what is
written is what stands there already. Prints a line for each: its name, 'refused' or 'DONE', and what was said.

Usage: escapes.py BPF HANDLE_TYPE HANDLE    BPF: number of the system call; HANDLE: a directory of that computer, in hex
"""
import ctypes
import os
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
REMOUNT_BIND = 32 | 4096


def call(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def mount(kind, target, flags=0):
    os.makedirs(target, exist_ok=True)
    call(libc.mount(b"escape", target.encode(), kind, ctypes.c_ulong(flags), None))


def control():
    """Not an escape: what every machine can do. Without it a script that does nothing would pass."""
    mount(b"tmpfs", "/tmp/escape")
    call(libc.umount(b"/tmp/escape"))


def disk():
    """reads a disk (/tmp would not do: devices work on no tmpfs that is mounted nodev)"""
    failed = OSError("no disk in /proc/partitions")
    for line in list(open("/proc/partitions"))[2:]:
        major, minor = line.split()[:2]
        try:
            os.mknod("/disk", 0o60600, os.makedev(int(major), int(minor)))
            with open("/disk", "rb") as f:
                return f.read(512)
        except OSError as err:
            failed = err
        finally:
            if os.path.exists("/disk"):
                os.unlink("/disk")
    raise failed


def core_pattern():
    """sets the program that the kernel runs as root, outside, when a process crashes"""
    mount(b"proc", "/tmp/escape")
    try:
        with open("/tmp/escape/sys/kernel/core_pattern") as f:
            value = f.read()
        with open("/tmp/escape/sys/kernel/core_pattern", "w") as f:
            f.write(value)
    finally:
        libc.umount(b"/tmp/escape")


def debugfs():
    """opens the kernel's debugging interfaces"""
    mount(b"debugfs", "/tmp/escape")
    call(libc.umount(b"/tmp/escape"))


def bpf():
    """lists the BPF programs in the kernel"""
    attr = (ctypes.c_uint32 * 3)(0, 0, 0)
    try:
        call(libc.syscall(int(sys.argv[1]), 11, attr, 12))  # BPF_PROG_GET_NEXT_ID
    except FileNotFoundError:
        pass  # allowed to ask; there is none


def clock():
    """sets the clock"""
    time.clock_settime(time.CLOCK_REALTIME, time.time())


def kernel_log():
    """reads the kernel's log"""
    call(libc.klogctl(3, ctypes.create_string_buffer(64), 64))


def handle():
    """opens a directory outside by its number in the file system"""
    raw = bytes.fromhex(sys.argv[3])
    h = len(raw).to_bytes(4, sys.byteorder) + int(sys.argv[2]).to_bytes(4, sys.byteorder, signed=True) + raw
    fd = os.open("/run/lab", os.O_RDONLY)
    outside = call(libc.open_by_handle_at(fd, h, os.O_RDONLY | os.O_DIRECTORY))
    return os.listdir(outside)


def artifacts():
    """writes to the artifacts, which other labs are made from"""
    mount(b"none", "/run/lab-share", REMOUNT_BIND)
    with open("/run/lab-share/escape", "w"):
        os.unlink("/run/lab-share/escape")


for escape in (control, disk, core_pattern, debugfs, bpf, clock, kernel_log, handle, artifacts):
    try:
        print(escape.__name__, "DONE", escape())
    except OSError as err:
        print(escape.__name__, "refused", err)
