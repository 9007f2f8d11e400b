"""Recording waits for answering: on a machine whose processors are busy with predictions, these come first.

What waits meanwhile is in JetStream, and counted. Who starts the recorder says whether it is so: in a pod of a cluster,
its share follows from its requests.
"""

import contextlib
import os
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")


def lower_priority(niceness: int) -> None:
    """Lower the priority of this process and its children to a niceness, and of its session where it is the one that
    leads it: Linux shares a processor between sessions first."""
    # before there are threads: each has a priority of its own, and new ones inherit it
    os.setpriority(os.PRIO_PROCESS, 0, max(niceness, os.getpriority(os.PRIO_PROCESS, 0)))
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            AUTOGROUP.write_text(str(niceness))
