"""Files that survive a crash: the only fsync outside block/.

A rename is durable only after the directory itself has been synced; that is what `sync_directory`
is for.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 0x01, 0x02, 0x10
#: What a file system answers that cannot do it at all.
NOT_SUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV})
#: What a full file system answers, or a quota.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_DEVICES = Path("/dev")
_LONGEST_RECORD = 64 << 20
_JUST_MADE = 60  # seconds
_AT_ONCE = 1 << 20  # os.read() makes room for all that it may read
#: What link() answers where files have one name (FAT, exFAT, many network file systems).
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_CURRENT_FOLDER, _NO_REPLACE = -100, 1  # AT_FDCWD, RENAME_NOREPLACE


@contextmanager
def _opened(path: Path, flags: int, mode: int = 0o600) -> Iterator[int]:
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    """Make what a file holds durable."""
    with _opened(path, os.O_RDONLY) as fd:
        os.fsync(fd)


def sync_directory(directory: Path) -> None:
    """Make renames, creations and removals in `directory` durable."""
    sync_file(directory)


def rename_file(old: Path, new: Path) -> None:
    """Give a finished file its name, durably; another one that has it is gone then."""
    old.replace(new)
    sync_directory(new.parent)


def remove_files(*paths: Path) -> None:
    """Those that are there, each durably before the next."""
    for path in paths:
        if path.exists():
            path.unlink()
            sync_directory(path.parent)


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write `path` atomically: after a crash it holds the old content or the new one, never a part.

    OSError also if something else than a file has that name: a rename would put a file in place
    of /dev/null.
    """
    # Nothing in /dev is replaced even if it leads to a file: /dev/stdout is a link, and a rename
    # would put a file in place of the link.
    if (path.exists() and not path.is_file()) or path.parent.resolve() == _DEVICES:
        raise OSError(errno.EINVAL, "it is not a regular file")
    temporary = path.with_name(path.name + ".new")
    try:
        with _opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode) as fd:
            write_all(fd, content)
            # Before the rename: that may reach the disk first, and a crash leaves an empty file.
            os.fsync(fd)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    rename_file(temporary, path)


def publish(hidden: Path, path: Path) -> None:
    """Give a finished file its real name, durably, which nobody else may have: FileExistsError.

    It keeps the other one as well, but on a file system without hard links.
    """
    _give_name(hidden, path)
    try:
        sync_directory(path.absolute().parent)
    except OSError:
        # Without it the name could be gone after a crash: it was not published.
        path.unlink()
        raise


def _give_name(hidden: Path, path: Path) -> None:
    try:
        # link() refuses a name that is taken; rename() would replace what has it.
        os.link(hidden, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_to_new(hidden, path)


def _rename_to_new(hidden: Path, path: Path) -> None:
    import ctypes

    # Python has no renameat2(2). os.rename() would replace a file of that name.
    libc = ctypes.CDLL(None, use_errno=True)
    old, new = os.fsencode(hidden), os.fsencode(path)
    if not libc.renameat2(_CURRENT_FOLDER, old, _CURRENT_FOLDER, new, _NO_REPLACE):
        return
    number = ctypes.get_errno()
    if number not in NOT_SUPPORTED:
        raise OSError(number, os.strerror(number), str(path))
    # The file system can do neither: a look and a rename, with a gap between them.
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    hidden.rename(path)


def overwrite_file(path: Path, content: bytes) -> None:
    """Write over what `path` holds, which is as long: no room is needed.

    A crash may leave a part of either.
    """
    with _opened(path, os.O_WRONLY) as fd:
        write_all(fd, content)
        os.fsync(fd)


def append_record(path: Path, record: bytes) -> None:
    """Append `record` to `path` (created if absent) and sync it.

    A crash may leave a torn last record.
    """
    # A new file's name is durable only after its folder is synced; an old one's is so already.
    created = not path.exists()
    with _opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as fd:
        write_all(fd, record)
        os.fsync(fd)
    if created:
        sync_directory(path.parent)


def read_record(path: Path) -> bytes:
    """All that a file of a run's folder holds.

    OSError if it is none, or longer than any of them can be.
    """
    # O_NONBLOCK: if a pipe has that name, open() does not wait until somebody writes to it.
    with _opened(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC) as fd:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LONGEST_RECORD:
            raise OSError(f"it is not a file of at most {_LONGEST_RECORD >> 20} MiB")
        chunks = []
        while chunk := os.read(fd, _AT_ONCE):
            chunks.append(chunk)
        return b"".join(chunks)


def write_all(fd: int, content: bytes) -> None:
    """write(2) may take a part."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def reserve_room(path: Path, size: int) -> None:
    """Take the host's blocks for the first `size` bytes of `path` (created if absent).

    Its length stays as it is. OSError if there are none; a file system that cannot do it is left
    alone.
    """
    with _opened(path, os.O_WRONLY | os.O_CREAT) as fd:
        try:
            # Without KEEP_SIZE the file would get longer, and a reader of records would see zeros.
            fallocate(fd, KEEP_SIZE, 0, size)
        except OSError as error:
            if error.errno not in NOT_SUPPORTED:
                raise


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2), which Python has without its modes: take or free the host's blocks of a range.

    OSError in one of NOT_SUPPORTED, or for what is really wrong: ENOSPC, EDQUOT, EFBIG,
    EIO.
    """
    import ctypes  # loaded by those alone who need it

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(fd, mode, ctypes.c_longlong(offset), ctypes.c_longlong(length)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def truncate_file(path: Path, size: int) -> None:
    """Cut `path` to `size` bytes, durably."""
    with _opened(path, os.O_WRONLY) as fd:
        os.ftruncate(fd, size)
        os.fsync(fd)


@contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Wait until no other growdisk makes something in `folder`, and keep the others waiting.

    False on a file system without locks: then nobody knows whether somebody else does.
    """
    with _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as fd:
        alone = False
        with suppress(OSError):
            # The lock is on the open folder itself: it ends with the descriptor, also if we are
            # killed.
            fcntl.flock(fd, fcntl.LOCK_EX)
            alone = True
        yield alone


@contextmanager
def scratch_folder(kind: str, parent: str | None = None) -> Iterator[Path]:
    """A temporary folder; first, those of this kind go that killed processes of this user left.

    Its name begins with `kind`.
    """
    import shutil
    import tempfile

    for left in Path(parent or tempfile.gettempdir()).glob(f"{kind}*"):
        with suppress(OSError), _opened(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW) as fd:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: it is in use
            found = os.fstat(fd)
            # One that was just made is about to be locked.
            if found.st_uid == os.geteuid() and abs(time.time() - found.st_mtime) > _JUST_MADE:
                shutil.rmtree(left, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(prefix=kind, dir=parent, ignore_cleanup_errors=True) as folder,
        alone_in(Path(folder)),
    ):
        yield Path(folder)


def open_locked(path: Path, mode: int) -> int:
    """The file, made if there is none, open and locked; who has it locked may remove it.

    BlockingIOError while somebody else has it.
    """
    return _locked(path, lambda: os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode))


def open_locked_folder(folder: Path, make: Callable[[Path], None]) -> int:
    """The same of a folder, which `make` makes if there is none."""

    def opened() -> int:
        make(folder)
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    return _locked(folder, opened)


def _locked(path: Path, opened: Callable[[], int]) -> int:
    while True:
        fd = opened()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                # else the one before us has just removed it: a lock on it keeps nobody out
                if os.path.samestat(os.fstat(fd), path.stat()):
                    return fd
        except OSError:
            os.close(fd)
            raise
        os.close(fd)


def user_folder(variable: str, otherwise: str) -> Path:
    """Where growdisk keeps what outlives a command: below `variable`, or `otherwise` in the home.

    A user without a home has a place where nothing is, and nothing can be kept.
    """
    base = os.environ.get(variable) or os.path.expanduser(f"~/{otherwise}")  # noqa: PTH111
    try:
        os.stat(base)  # noqa: PTH116 (half the time of Path.stat)
    except PermissionError:
        base = "~"  # in the home of somebody else, as under sudo -u
    except OSError:
        pass
    return Path(base if not base.startswith("~") else "/nonexistent") / "growdisk"
