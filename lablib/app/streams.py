"""Standard output and error that never stop a command: one may be closed, full, gone, or lack a character."""

import errno
import io
import os
import select
import sys


def steady_streams() -> None:
    """Let what this process prints never raise: what a stream cannot take is lost, what it cannot spell is escaped."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # a closed one: else the next file would be taken for it
        os.set_inheritable(number, True)
    os.close(number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):  # else a test has put its own there
            raw, encoding = _Steady(number, "w", closefd=False), stream.encoding if stream else "utf-8"
            steady = io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=True)
            setattr(sys, name, steady)


class _Steady(io.FileIO):
    """A file that takes everything. That standard output is lost is said once, unless its reader has gone away."""

    lost = False

    def write(self, data) -> int:
        try:
            while (taken := super().write(data)) is None:  # its other end was set not to wait
                select.select([], [self], [])
            return taken
        except OSError as error:
            if self.fileno() == 1 and error.errno != errno.EPIPE and not self.lost:
                sys.stderr.write(f"lab: standard output cannot be written: {error.strerror}\n")
            self.lost = True
            return len(data)
