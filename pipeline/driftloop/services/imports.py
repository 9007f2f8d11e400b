"""Imports of large libraries without what they take along and services don't use."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _PandasFinder(MetaPathFinder):
    """Finds that pandas is not there. None in `sys.modules` would say so, too, but Cython, in which
    pyarrow imports it, takes that for the module."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is left out", name=fullname)
        return None


@contextlib.contextmanager
def pandas_left_out() -> Iterator[None]:
    """scikit-learn and pyarrow take pandas along wherever it is installed, 45 MB and half a second
    of it, to know frames when they are given some: inside the `with` they do not find it, unless
    it has been imported before."""
    finder = _PandasFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
