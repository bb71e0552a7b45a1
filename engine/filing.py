"""Files put elsewhere and back, so that a kill at any instant loses no byte and nothing is overwritten.

A file gets its new name before the old one goes: as a hard link, or on another disk as a copy that was read
again. Temporary files have names that the caller chooses and clears. Symbolic links are put as they are.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 1 << 20
_NO_LINKS = frozenset(
    (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)
)

Inode = tuple[int, int]
"""Device and number."""


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """A file as it was when it was indexed: its path, bytes, time and SHA-256, hexadecimal."""

    path: str
    size: int
    mtime_ns: int
    digest: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file is beside its bytes.

    Attributes:
        mode: permission bits.
        uid, gid: owner.
        atime_ns, mtime_ns: nanoseconds since the epoch.
        attributes: extended attributes by name, hexadecimal.
    """

    mode: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    attributes: dict[str, str]

    @classmethod
    def of(cls, path: str) -> Facts:
        """Those of a file, or of a symbolic link itself."""
        status = os.lstat(path)
        return cls(
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            atime_ns=status.st_atime_ns,
            mtime_ns=status.st_mtime_ns,
            attributes=_attributes(path),
        )

    def give(self, path: str) -> None:
        """Make a file be that; owner and attributes where the system lets us."""
        status = os.lstat(path)
        if (status.st_uid, status.st_gid) != (self.uid, self.gid):
            with suppress(OSError):
                os.chown(path, self.uid, self.gid, follow_symlinks=False)
        # Read again: a new owner takes some of the bits.
        status = os.lstat(path)
        if not stat.S_ISLNK(status.st_mode) and stat.S_IMODE(status.st_mode) != self.mode:
            os.chmod(path, self.mode)
        known = _attributes(path)
        for name, value in self.attributes.items():
            if known.get(name) != value:
                with suppress(OSError):
                    os.setxattr(path, name, bytes.fromhex(value), follow_symlinks=False)
        os.utime(path, ns=(self.atime_ns, self.mtime_ns), follow_symlinks=False)


# -- reading -------------------------------------------------------------------------------------------


def change_of(file: IndexedFile) -> str:
    """How a file differs from what was indexed, as the end of a sentence; empty if it does not."""
    try:
        status = os.stat(file.path)
        if not stat.S_ISREG(status.st_mode):
            return "is no file any more"
        if (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns):
            return "changed since it was indexed"
        digest = digest_of(file.path)
        # Reading takes a while, in which somebody may save.
        after = os.stat(file.path)
        if digest != file.digest or (after.st_size, after.st_mtime_ns) != (file.size, file.mtime_ns):
            return "changed since it was indexed"
        return ""
    except FileNotFoundError:
        return "is gone"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def digest_of(path: str) -> str:
    """SHA-256 of a file's bytes, hexadecimal; reading leaves its access time alone where it may."""
    digest = hashlib.sha256()
    with open(path, "rb", opener=_quiet_opener) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def inode_of(path: str) -> Inode:
    """Where the bytes of a file lie, symbolic links followed."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def is_same_entry(a: str, b: str) -> bool:
    """True if two names, not followed, are of one inode."""
    try:
        return os.path.samestat(os.lstat(a), os.lstat(b))
    except FileNotFoundError:
        return False


def _quiet_opener(path: str, flags: int) -> int:
    flags |= os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return os.open(path, flags | getattr(os, "O_NOATIME", 0))
    except PermissionError:
        return os.open(path, flags)


def _attributes(path: str) -> dict[str, str]:
    found: dict[str, str] = {}
    if not hasattr(os, "listxattr"):
        return found
    with suppress(OSError):
        for name in os.listxattr(path, follow_symlinks=False):
            with suppress(OSError):
                found[name] = os.getxattr(path, name, follow_symlinks=False).hex()
    return found


# -- putting -------------------------------------------------------------------------------------------


def put(source: str, target: str, spare: str, facts: Facts | None = None) -> None:
    """Give a file another name, on any disk.

    Args:
        source: the file, or a symbolic link.
        target: its new name, in a folder that is there.
        spare: a name beside it, for a copy that is not finished.
        facts: of the file, for a copy; its own if None.

    Raises:
        FileExistsError: something has that name; nothing was done.
        OSError: it cannot be put; both names may be there, and nothing is lost.
    """
    remove_if_there(spare)
    try:
        put_new(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, spare, facts or Facts.of(source))
        put_new(spare, target)
        remove_if_there(source)
    sync_folder(os.path.dirname(source))


def put_new(source: str | Path, target: str | Path) -> None:
    """Rename, on one disk, without overwriting.

    Raises:
        FileExistsError: something has that name; nothing was done.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links: between the look and the rename another program could come.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        os.rename(source, target)
        sync_folder(os.path.dirname(target))
        return
    sync_folder(os.path.dirname(target))
    try:
        os.unlink(source)
    except OSError:
        os.unlink(target)
        raise


def replace_by(path: str, spare: str, make: Callable[[str], None]) -> None:
    """Put something else in the place of a file, at one stroke.

    Args:
        path: the file.
        spare: a name beside it.
        make: makes what takes its place under that name.
    """
    remove_if_there(spare)
    make(spare)
    os.rename(spare, path)
    # Of two names of one inode, a rename drops neither.
    remove_if_there(spare)
    sync_folder(os.path.dirname(path))


def copy_content(source: str, target: str, facts: Facts) -> None:
    """Copy a file's bytes to a new file, check them, and make it be what `facts` says.

    Raises:
        OSError: also if what was written reads differently.
    """
    expected = hashlib.sha256()
    with open(source, "rb", opener=_quiet_opener) as reader, open(target, "xb") as writer:
        while chunk := reader.read(_CHUNK):
            expected.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
        with suppress(OSError, AttributeError):
            # Read from the disk what the disk has, not what memory still holds.
            os.posix_fadvise(writer.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if digest_of(target) != expected.hexdigest():
        raise OSError(errno.EIO, "the copy reads differently from what was written", target)
    facts.give(target)


def remove_if_there(path: str) -> None:
    """Remove one name."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def remove_if_empty(folder: str) -> None:
    """Remove a folder that holds nothing."""
    with suppress(OSError):
        os.rmdir(folder)


def existing_folder(folder: str) -> str:
    """The folder, or the nearest one above it that is there."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def missing_folders(folder: str) -> tuple[str, ...]:
    """Folders that are missing on the way to one, outermost first; nothing is made yet."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return tuple(reversed(missing))


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Bring the names in a folder to disk, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _copy(source: str, target: str, facts: Facts) -> None:
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
        facts.give(target)
    else:
        copy_content(source, target, facts)
