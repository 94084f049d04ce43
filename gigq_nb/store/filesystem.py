"""Files beside the database: large values, and whether the disk is one that SQLite can trust."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from ..errors import NetworkFileSystem, PayloadDamaged, PayloadRefused

MOUNTINFO = "/proc/self/mountinfo"  # proc(5)
SPILL_BYTES = 16 * 2**20
_PIECE = 2**24
_NAME = re.compile(r"(arguments|result)-[0-9a-f-]{36}|function-[0-9a-f]{64}", re.ASCII)
_DRAFT = re.compile(r"\.[0-9a-f]{16}\.draft", re.ASCII)
NETWORK = frozenset(
    {
        "nfs",
        "nfs3",
        "nfs4",
        "cifs",
        "smb2",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "lustre",
        "ceph",
        "glusterfs",
        "beegfs",
        "gpfs",
        "fuse.sshfs",
        "fuse.s3fs",
        "fuse.gcsfuse",
        "fuse.rclone",
        "fuse.glusterfs",
        "fuse.ceph",
        "davfs",
        "fuse.davfs2",
    }
)


def file_system_of(path: Path, mountinfo: str) -> str:
    """The type of the file system that holds ``path``, from the text of ``/proc/self/mountinfo`` (proc(5))."""
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        mount = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4])
        inside = mount == "/" or str(path) == mount or str(path).startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= best:  # later lines cover earlier ones
            best, kind = len(mount), right.split(" ")[0]
    return kind


def refuse_network(path: Path, mountinfo_file: str = "") -> None:
    """Refuse file systems on which SQLite's locks cannot be trusted.

    Raises:
        NetworkFileSystem: says which one, and what to do. ``GIGQ_NB_ALLOWNETWORK=1`` overrides, at your risk.
    """
    if os.environ.get("GIGQ_NB_ALLOWNETWORK") == "1":
        return
    try:
        with open(mountinfo_file or MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
            kind = file_system_of(path, file.read())
    except OSError:
        return
    if kind in NETWORK:
        raise NetworkFileSystem(
            f"{path} is on a network file system ({kind}), where SQLite's locks are not safe. Use a local disk, for example "
            f"{Path(os.environ.get('TMPDIR', '/var/tmp')) / path.name}, and copy results home with queue.backup()"
        )


class Spill:
    """Values too large for a row, each in a file of its own beside the database, written and fsynced before the row."""

    def __init__(self, database: Path) -> None:
        self.folder = database.with_name(database.name + ".files")

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise PayloadDamaged(f"{name!r:.80} is no name of a stored value")
        return self.folder / name

    def write(self, name: str, value: bytes | memoryview) -> None:
        """Store a value: draft, fsync, rename, fsync of the folder. Only then may a row name it."""
        with memoryview(value) as whole:
            self._place(name, (whole[at : at + _PIECE] for at in range(0, len(whole), _PIECE)))

    def _place(self, name: str, pieces: Iterable[bytes | memoryview]) -> None:
        path = self._path(name)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if not self._is_ours():
            raise PayloadRefused(f"{self.folder} is a link, or belongs to another user; remove it. Nothing was written there")
        draft = self.folder / f".{secrets.token_hex(8)}.draft"
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            for piece in pieces:
                done = 0
                while done < len(piece):
                    done += os.write(handle, piece[done:])
            os.fsync(handle)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise
        finally:
            os.close(handle)
        os.replace(draft, path)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _is_ours(self) -> bool:
        """Whether the folder is one, and ours: not a link that leads elsewhere."""
        try:
            about = os.lstat(self.folder)
        except OSError:
            return False
        return stat.S_ISDIR(about.st_mode) and (not hasattr(os, "getuid") or about.st_uid == os.getuid())

    def read(self, name: str, size: int) -> bytes:
        """A value of known size.

        Raises:
            PayloadDamaged: missing, a link, or of another size.
        """
        try:
            handle = os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            raise PayloadDamaged(f"the file of the stored value {name} cannot be read: {error.strerror}") from error
        with os.fdopen(handle, "rb") as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode) or about.st_size != size:
                raise PayloadDamaged(f"the file of the stored value {name} has {about.st_size} bytes, not {size}")
            return file.read()

    def remove(self, name: str) -> None:
        """Remove a value; never follows a link and never leaves the folder."""
        with contextlib.suppress(FileNotFoundError, PayloadDamaged):
            path = self._path(name)
            if self._is_ours():
                os.unlink(path)

    def names(self) -> list[str]:
        """All stored values, and drafts of writers that died."""
        if not self._is_ours():
            return []
        try:
            return sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return []

    def copy_to(self, database: Path) -> int:
        """Copy all values beside a copy of the database, each complete and fsynced. Returns how many.

        Take them after the database: a value is on the disk before a row names it, so each that the copied rows name
        was there. One that was pruned meanwhile is skipped: its job went with it.
        """
        other = Spill(database)
        copied = 0
        for name in self.names():
            if not _NAME.fullmatch(name):
                continue
            try:
                handle = os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:  # pruned meanwhile, or a link, which is none of ours
                continue
            with os.fdopen(handle, "rb", buffering=0) as file:
                other._place(name, iter(functools.partial(file.read, _PIECE), b""))
            copied += 1
        return copied

    def is_known_name(self, name: str) -> bool:
        """Whether this is the name of a value or of a draft; everything else there belongs to somebody else."""
        return _NAME.fullmatch(name) is not None or _DRAFT.fullmatch(name) is not None

    def written_at(self, name: str) -> int:
        """When a value was last written, in UTC milliseconds; 0 when it is gone."""
        try:
            return os.lstat(self.folder / name).st_mtime_ns // 1_000_000
        except OSError:
            return 0

    def remove_draft(self, name: str) -> None:
        """Remove a draft that a killed writer left."""
        if _DRAFT.fullmatch(name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.folder / name)
