"""Imports of large libraries without what they take along and detectors don't use."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def pandas_left_out() -> Iterator[None]:
    """scikit-learn takes pandas along wherever it is installed, 45 MB of it, to know frames when
    it is given some: inside the `with` it does not find it, unless it has been imported before."""
    if "pandas" in sys.modules:
        yield
        return
    # None is how the import system is told that a module is not there
    sys.modules["pandas"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["pandas"]
