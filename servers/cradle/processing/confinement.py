"""What a process that reads hostile files can reach once its code is loaded: code, and nothing else.

Landlock (https://docs.kernel.org/userspace-api/landlock.html, Linux 5.13) takes away every file but those of the
program, all changes of files, the start of programs, from Linux 6.7 on TCP, from 6.12 on signals to others. A filter of
system calls (https://docs.kernel.org/userspace-api/seccomp_filter.html) takes away sockets of any kind. Whoever takes
a parser over then finds neither keys nor other customers' files, and no way to send anything.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from shared.dumps import forbid_dumps

PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 22, 2, 38  # linux/prctl.h, linux/seccomp.h
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # landlock's calls, the same on every architecture
WRITE_FILE, READ_FILE, READ_DIR = 1 << 1, 1 << 2, 1 << 3  # linux/landlock.h
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights over files a version of Landlock knows; 16 from the fifth on."""
NOWHERE = Path(os.devnull)
BIND_AND_CONNECT, ABSTRACT_SOCKETS_AND_SIGNALS = 0b11, 0b11

# socket, execve, ptrace, process_vm_readv, process_vm_writev, execveat, io_uring_setup, pidfd_getfd
FORBIDDEN_CALLS = {
    "x86_64": (0xC000003E, (41, 59, 101, 310, 311, 322, 425, 438)),
    "aarch64": (0xC00000B7, (198, 221, 117, 270, 271, 281, 425, 438)),
}
"""AUDIT_ARCH of an architecture, and numbers of calls there."""
X32 = 0x40000000  # the bit of x86_64's other numbers for the same calls
LOAD, JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # linux/bpf_common.h
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM


def answers_alone() -> BinaryIO:
    """What was standard output, for answers. What libraries print must not mix with them, nor reach a log, for it may
    hold content: it goes nowhere."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    return out


def send(out: BinaryIO, answer: bytes) -> None:
    """Write the whole answer: a pipe takes at once what it has room for.

    Raises:
        BrokenPipeError: nobody reads any more.
    """
    view = memoryview(answer)
    while view:
        view = view[out.write(view) :]


def confine(memory: int) -> None:
    """From here on this process has `memory` bytes of addresses, leaves no dump, writes no file, reads none but those
    of its own code, and connects to nothing.

    Only what the kernel has is taken away. There may be no other thread yet, for one that runs already is not confined.
    """
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    forbid_dumps()
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _confine_files(libc, _code())
    _forbid_calls(libc)


def whole() -> bool:
    """Whether this machine takes away both files and sockets."""
    return landlock() > 0 and os.uname().machine in FORBIDDEN_CALLS


def landlock() -> int:
    """Which version of Landlock the kernel has; below 1: none, or it is switched off."""
    return ctypes.CDLL(None).syscall(CREATE_RULESET, None, 0, 1) if sys.platform == "linux" else 0


def _code() -> set[Path]:
    """Where Python, its packages and their libraries lie, and what libraries ask of the machine."""
    packages = Path(__file__).parents[3]
    prefixes = {Path(each) for each in (sys.prefix, sys.base_prefix, "/usr", "/usr/local", "/")}
    libraries = {Path(each) for each in os.environ.get("LD_LIBRARY_PATH", "").split(":") if each}
    installed = {Path(each) for each in sys.path if Path(each).name in {"site-packages", "dist-packages"}}
    told = map(Path, ("/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/sys/devices/system/cpu"))
    machine = (*map(Path, ("/proc/cpuinfo", "/proc/meminfo", "/proc/self", "/dev/urandom")), NOWHERE)
    return {
        *(prefix / name for prefix in prefixes for name in ("lib", "lib64", "share")),
        *(packages / name for name in ("servers", "shared", "templates")), *libraries, *installed, *told, *machine,
    }  # fmt: skip


def _confine_files(libc: ctypes.CDLL, readable: Iterable[Path]) -> None:
    version = landlock()
    if version < 1:
        return
    rights = (1 << FILE_RIGHTS.get(version, 16)) - 1
    ruleset = struct.pack(
        "=QQQ", rights, BIND_AND_CONNECT if version >= 4 else 0, ABSTRACT_SOCKETS_AND_SIGNALS if version >= 6 else 0
    )
    rules = libc.syscall(CREATE_RULESET, ruleset, len(ruleset), 0)
    for path in readable:
        with suppress(OSError):  # not on this machine
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = READ_FILE | (READ_DIR if path.is_dir() else 0) | (WRITE_FILE if path == NOWHERE else 0)
            libc.syscall(ADD_RULE, rules, 1, struct.pack("=Qi", allowed, place), 0)
            os.close(place)
    if rules < 0 or libc.syscall(RESTRICT_SELF, rules, 0):
        raise OSError(ctypes.get_errno(), "the reader could not be confined")
    os.close(rules)


def _forbid_calls(libc: ctypes.CDLL) -> None:
    known = FORBIDDEN_CALLS.get(os.uname().machine)
    if known is None:
        return
    architecture, calls = known
    tests = [(JUMP_IF_AT_LEAST, X32), *((JUMP_IF_EQUAL, call) for call in calls)]
    program = [(LOAD, 0, 0, 4), (JUMP_IF_EQUAL, 0, len(tests) + 2, architecture), (LOAD, 0, 0, 0)]
    program += [(code, len(tests) - at, 0, value) for at, (code, value) in enumerate(tests)]
    program += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
    whole = struct.pack("@HP", len(program), ctypes.addressof(code))
    libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(whole), 0, 0)
