"""What is told of a server that ended: its error, not what it printed on its way out."""

import pytest

from driftloop.operations.servers.rehearsal import find_error

GUNICORN = """\
[2026-11-29 08:23:06 +0000] [26647] [ERROR] Exception in worker process
Traceback (most recent call last):
  File "arbiter.py", line 609, in spawn_worker
    worker.init_process()
onnxruntime.NoSuchFile: Load model from /mnt/models/model.onnx failed
[2026-11-29 08:23:07 +0000] [26647] [INFO] Worker exiting (pid: 26647)
[2026-11-29 08:23:07 +0000] [26640] [INFO] Shutting down: Master"""
CHAINED = """\
Traceback (most recent call last):
  File "a.py", line 1, in <module>
KeyError: 'age'
During handling of the above exception, another exception occurred:
Traceback (most recent call last):
  File "b.py", line 2, in load
ValueError: no column age
Exception ignored in: <function f at 0x7f>
Traceback (most recent call last):
AttributeError: x"""


@pytest.mark.parametrize(
    ("log", "error"),
    [
        (GUNICORN, "onnxruntime.NoSuchFile: Load model from /mnt/models/model.onnx failed"),
        (CHAINED, "ValueError: no column age"),
        ("one\nkilled", "killed"),
        ("", ""),
    ],
    ids=["a server with workers", "chained", "no traceback", "nothing"],
)
def test_the_error_is_found_before_what_follows_it(log: str, error: str) -> None:
    assert find_error(log.splitlines()) == error
