"""Start an unpacked image's own Python without an engine, as closed in as this process may close it.

As root: a new mount namespace where the system allows it (root read-only, tmpfs on /tmp, /proc, /sys), chroot, user
65532, no new privileges, no capabilities left. Not as root: the image's own loader, with its libraries and nothing of
the host's. Either way the child dies with its parent.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path

from servers.cradle.images.base import MACHINES
from servers.cradle.images.spec import APP, LIBRARIES, SCRATCH, SITE, USER
from shared.contracts.image import Architecture
from shared.errors import InvalidInput

# Runs in a child of its own so that no code runs between fork and exec of a process with threads.
_ENTER = """
import ctypes, os, sys
root, user, *command = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
text = lambda value: None if value is None else os.fsencode(value)
def mount(source, target, kind, flags, data=None):
    return libc.mount(text(source), text(target), text(kind), ctypes.c_ulong(flags), text(data)) == 0
RDONLY, NOSUID, NODEV, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
if user != "-":
    if libc.unshare(0x00020000) == 0 and mount(None, "/", None, REC | PRIVATE):
        if mount(root, root, None, BIND | REC):
            mount("proc", root + "/proc", "proc", NOSUID | NODEV)
            mount("sysfs", root + "/sys", "sysfs", RDONLY | NOSUID | NODEV)
            mount("tmpfs", root + "/tmp", "tmpfs", NOSUID | NODEV, "size=1g,mode=1777")
            for device in ("null", "zero", "random", "urandom"):
                mount("/dev/" + device, root + "/dev/" + device, None, BIND)
            mount(None, root, None, REMOUNT | BIND | RDONLY | NOSUID)
    os.chroot(root)
    os.chdir("/")
    os.setgroups([])
    os.setresgid(int(user), int(user), int(user))
    os.setresuid(int(user), int(user), int(user))
libc.prctl(38, 1, 0, 0, 0)
libc.prctl(1, 9, 0, 0, 0)
if os.getppid() != int(os.environ.pop("PARENT")):
    sys.exit(1)
os.umask(0o077)
os.execve(command[0], command, dict(os.environ))
"""

_DEVICES = {"null": 3, "zero": 5, "random": 8, "urandom": 9}
"""Minor numbers of memory devices, https://www.kernel.org/doc/Documentation/admin-guide/devices.txt."""


def may_enter() -> bool:
    """Whether this process may chroot and change its user."""
    return os.geteuid() == 0


def emulates(architecture: Architecture) -> bool:
    """Whether this machine runs programs of another architecture, in a chroot too: Debian's qemu-user-static.

    Format: the kernel's binfmt_misc (https://docs.kernel.org/admin-guide/binfmt-misc.html).
    """
    try:
        told = Path(f"/proc/sys/fs/binfmt_misc/qemu-{MACHINES[architecture]}").read_text()
    except OSError:
        return False
    return may_enter() and told.startswith("enabled") and re.search(r"^flags: \w*F", told, re.MULTILINE) is not None


def may_run_in(folder: Path) -> bool:
    """Whether programs may start in a folder; Docker mounts /dev/shm so that they may not."""
    return not os.statvfs(folder).f_flag & os.ST_NOEXEC


def command(root: Path, entrypoint: list[str]) -> list[str]:
    """The command that starts the image unpacked at `root`."""
    enter = [sys.executable, "-I", "-S", "-c", _ENTER, str(root)]
    if may_enter():
        _prepare(root)
        return [*enter, str(USER), *entrypoint]
    inside = [_within(root, argument) for argument in entrypoint]
    libraries = ":".join(_within(root, folder) for folder in LIBRARIES)
    return [*enter, "-", str(_loader(root)), "--inhibit-cache", "--library-path", libraries, *inside]


def environment(root: Path, image: dict[str, str], changes: dict[str, str], temporary: Path) -> dict[str, str]:
    """The environment of the started image: its own, our changes, and nothing of this process."""
    found = {**image, **changes, "PARENT": str(os.getpid())}
    if not may_enter():
        found.pop("LD_LIBRARY_PATH", None)  # the loader gets it as an argument; ours must not load the image's libc
        found["PYTHONHOME"] = str(root / "usr/local")
        found["PYTHONPATH"] = f"{_within(root, APP)}:{_within(root, SITE)}"
        found["HOME"] = found["TMPDIR"] = str(temporary)
        found["SSL_CERT_FILE"] = _within(root, image.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
    return found


def how() -> str:
    """In words, how an image starts here without an engine."""
    return f"unpacked, chroot, user {USER}" if may_enter() else "unpacked, its own loader"


def _within(root: Path, argument: str) -> str:
    return f"{root}{argument}" if argument.startswith("/") else argument


def _prepare(root: Path) -> None:
    for folder in ("proc", "sys", "dev", SCRATCH.lstrip("/")):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / SCRATCH.lstrip("/")).chmod(0o1777)
    # Where nothing may be mounted, as for root in containers, these stay: child processes want /dev/null, and OpenVINO
    # looks on without end if it sees no processor.
    for device, minor in _DEVICES.items():
        place = root / "dev" / device
        try:
            os.mknod(place, stat.S_IFCHR, os.makedev(1, minor))
        except OSError:  # it may not, or the device is there
            place.touch()
        place.chmod(0o666)
    (root / "proc" / "cpuinfo").write_bytes(Path("/proc/cpuinfo").read_bytes())


def _loader(root: Path) -> Path:
    for pattern in ("lib64/ld-linux-*.so.*", "lib/ld-linux-*.so.*", "lib/ld-musl-*.so.*"):
        found = sorted(root.glob(pattern))
        if found:
            return found[0]
    raise InvalidInput("The image has no Linux loader. Check P0711_BASE_IMAGE.", field="base_image")
