"""Which file system a folder lies on, and whether its locks reach other machines (Linux)."""

import os
from contextlib import suppress
from dataclasses import dataclass

_MOUNTS = "/proc/self/mounts"
_ALONE = {
    "fuse.sshfs",
    "fuse.s3fs",
    "fuse.rclone",
    "fuse.goofys",
    "fuse.gcsfuse",
    "fuse.mount-s3",
    "fuse.curlftpfs",
}
_LOCAL_LOCKS = {
    "nfs": ("nolock", "local_lock=all", "local_lock=flock"),
    "nfs4": ("local_lock=all", "local_lock=flock"),
    "lustre": ("localflock",),
    "cifs": ("nobrl",),
    "smb3": ("nobrl",),
}
"""Options with which flock of a network file system is known on one machine only: nfs(5), mount.cifs(8),
mount.lustre(8)."""


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a folder lies. kind: of the file system, such as `nfs4`; empty if nobody knows."""

    kind: str = ""
    options: tuple[str, ...] = ()

    @property
    def lonely(self) -> str:
        """Name why other machines do not see locks, `nfs4 with local_lock=all`; empty if they may."""
        if self.kind in _ALONE:
            return self.kind
        found = [option for option in _LOCAL_LOCKS.get(self.kind, ()) if option in self.options]
        return f"{self.kind} with {found[0]}" if found else ""


def mount_of(folder: str, table: str = _MOUNTS) -> Mount:
    """Return on what a folder lies: by the longest mount point above it, of those the last.

    table: a file in the form of fstab(5).
    """
    best, mount = "", Mount()
    real = os.path.realpath(folder)
    with suppress(OSError), open(table, encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            _, point, kind, options, *_ = line.split(" ")
            point = point.replace("\\040", " ")
            above = real == point or real.startswith(point.rstrip("/") + "/")
            if above and len(point) >= len(best):
                best, mount = point, Mount(kind, tuple(options.split(",")))
    return mount
