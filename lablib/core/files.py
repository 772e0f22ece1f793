"""The folder of what a person runs, and files that are written whole: for all that must start without pandas."""

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from lablib.core.checkout import PROJECT

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, a person's share of it, or the size of a file


def lab_home() -> Path:
    """The folder of everything that a person runs: LAB_HOME, else `.lab` in the project root."""
    # a schedule does not expand ~ as a shell does
    return Path(os.path.expanduser(os.environ.get("LAB_HOME") or PROJECT / ".lab"))


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing: into a neighbour first, on disk, then renamed over `path`.

    Raises OSError; on a full disk its text says what to do, as it may end a sweep in a notebook of hours.
    """
    try:
        _write_beside(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        if error.errno not in FULL:
            raise
        words = f"the disk is full ({error.strerror}), {path.name} cannot be written; make room and go on"
        raise OSError(error.errno, words) from None


def _write_beside(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
