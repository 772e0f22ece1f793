"""Processes that start anew, or a sentence on why none can."""

import errno
import os

import pytest

from lablib.core.experiment import worker_pool
from lablib.core.measure import in_fresh_process
from lablib.core.pool import fresh_processes


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.ENOSYS])
@pytest.mark.parametrize("start", [fresh_processes, worker_pool.__wrapped__, lambda _: in_fresh_process(os.getpid)])
def test_without_shared_memory_a_sentence_says_what_to_mend(monkeypatch, start, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("_multiprocessing.SemLock", refuse)
    with pytest.raises(
        OSError, match="no worker process can be started, as /dev/shm cannot be used; mount it writable"
    ) as e:
        start(1)
    assert e.value.errno == number
    assert os.strerror(number) in str(e.value)
