"""The user's key, and what is signed with it. Whoever can read the key can run code as its owner; nobody else can.

Every payload carries an HMAC-SHA256 (RFC 2104) over its slot, the job's id and the bytes, made with a key of the user,
as Jupyter signs notebooks. Nothing is unpickled before :func:`verify` said yes.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import sys
from pathlib import Path

from .errors import GigQError, InvalidType

SLOT_JOB, SLOT_RESULT, SLOT_ERROR, SLOT_OUTPUT = b"gigq_nb 1 job", b"gigq_nb 1 result", b"gigq_nb 1 error", b"gigq_nb 1 output"
SIGNATURE_BYTES = 32
CHANGED = "its payload is not what was signed: somebody changed the file. It was not run"
PARENT_CHANGED = "the result of the parent {} is not what was signed: somebody changed the file"
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


def data_dir() -> Path:
    """The user's folder for the key, as Jupyter's data directory is found (without importing jupyter_core)."""
    if given := os.environ.get("JUPYTER_DATA_DIR"):
        return Path(given) / "gigq_nb"
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "jupyter" / "gigq_nb"


def key_path() -> Path:
    """Where the user's signing key is."""
    return data_dir() / "key"


def load_key() -> bytes:
    """The user's signing key, 32 random bytes, made on first use; complete for every process that sees it.

    Raises:
        GigQError: the key file is damaged, belongs to somebody else, or the folder cannot be written.
    """
    path = key_path()
    try:
        try:
            return _read_key(path)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _place_key(path, secrets.token_bytes(32), replace=False)
            return _read_key(path)
    except OSError as error:
        raise GigQError(
            f"the signing key {path} cannot be used: {error}. Set JUPYTER_DATA_DIR to a folder you can write"
        ) from error


def _read_key(path: Path) -> bytes:
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        about = os.fstat(handle)
        key = os.read(handle, 4096)
    finally:
        os.close(handle)
    if hasattr(os, "getuid") and about.st_uid != os.getuid():
        raise GigQError(f"the signing key {path} belongs to another user; remove it or set JUPYTER_DATA_DIR")
    if len(key) != 32:
        raise GigQError(f"the signing key {path} is damaged: put it back with 'gigq-nb key import', or remove it")
    if about.st_mode & 0o077:
        os.chmod(path, 0o600)
    return key


def _place_key(path: Path, key: bytes, *, replace: bool) -> None:
    """Write the key beside its place, then link it in: whoever looks finds all 32 bytes or no key."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, key)
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        if replace:
            os.replace(draft, path)
        else:
            with contextlib.suppress(FileExistsError):  # another process was first: its key is as good
                os.link(draft, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)


def export_key(target: Path, *, replace: bool = False) -> None:
    """Write this user's key to a file (mode 0600) that another machine imports.

    Raises:
        GigQError: something is there, and ``replace`` is false.
    """
    key = load_key()
    if not replace and os.path.lexists(target):
        raise GigQError(f"{target} is there already; name a new file, or add --replace")
    _place_key(target, key, replace=True)


def read_exported_key(source: Path) -> bytes:
    """A key from the file that ``key export`` wrote.

    Raises:
        GigQError: it cannot be read, or is no key.
    """
    try:
        with open(source, "rb") as file:
            key = file.read(64)
    except OSError as error:
        raise GigQError(f"{source} cannot be read: {error.strerror}") from None
    if len(key) != 32:
        raise GigQError(f"{source} is no signing key: a key has 32 bytes; make the file with 'gigq-nb key export'")
    return key


def import_key(key: bytes, *, keep_as: Path | None = None) -> None:
    """Put a key from another machine in place of this user's; the old one is kept as ``keep_as``."""
    if len(key) != 32:
        raise InvalidType("a signing key has 32 bytes; make the file with 'gigq-nb key export'")
    key_path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if keep_as is not None:
        os.link(key_path(), keep_as)
    _place_key(key_path(), key, replace=True)


def key_id(key: bytes) -> str:
    """A name for a key that does not give it away: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(b"gigq_nb key id" + key).hexdigest()[:16]


def sign(key: bytes, slot: bytes, about: str, *parts: bytes | memoryview) -> bytes:
    """HMAC-SHA256 over the slot, what it belongs to, and the parts, each with its length before it."""
    head = b"%b\0%b\0" % (slot, about.encode())
    if sum(map(len, parts)) < 65_536:  # nearly always: one call
        return hmac.digest(key, head + b"".join([b"%d:%b" % (len(one), one) for one in parts]), "sha256")  # type: ignore[str-format]
    mac = hmac.new(key, head, "sha256")
    for part in parts:
        mac.update(b"%d:" % len(part))
        mac.update(part)
    return mac.digest()


def verify(key: bytes, signature: bytes | None, slot: bytes, about: str, *parts: bytes | memoryview) -> bool:
    """Whether the signature is ours, for exactly these bytes in this place."""
    return signature is not None and hmac.compare_digest(signature, sign(key, slot, about, *parts))


def digest(*parts: bytes) -> bytes:
    """SHA-256 over the parts, each with its length before it."""
    return hashlib.sha256(b"".join([b"%d:%b" % (len(p), p) for p in parts])).digest()


def digest_of(function: bytes | memoryview) -> bytes:
    """SHA-256 of a function's bytes, by which it is stored once."""
    return hashlib.sha256(function).digest()


def task_digest(
    function: bytes,
    name: str,
    folder: str,
    sys_path: str,
    options: str,
    notebook: str | None,
    cell: str | None,
    *,
    python: str = PYTHON,
) -> bytes:
    """What a job's signature covers besides its arguments: the function and all that decides how and where it runs."""
    texts = (python, name, folder, sys_path, options, notebook or "", cell or "")
    return digest(function, *(one.encode("utf-8", "surrogatepass") for one in texts))
