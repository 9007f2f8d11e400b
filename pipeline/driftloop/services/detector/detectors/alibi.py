"""alibi-detect's modules without its packages' `__init__`, which import every detector it has.

`import alibi_detect` costs 275 MB and ten seconds (transformers, numba, image libraries); the
three modules used here need numpy, scipy and scikit-learn. Bare packages with the right path
stand in for the real ones, then each module is imported as usual.
"""

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

from driftloop.errors import PipelineError
from driftloop.services.imports import pandas_left_out

_PACKAGES = ("alibi_detect", "alibi_detect.cd", "alibi_detect.od", "alibi_detect.utils")


def load_class(module: str, name: str) -> Any:
    """The class `name` of `alibi_detect.<module>`."""
    if "alibi_detect" not in sys.modules:
        spec = importlib.util.find_spec("alibi_detect")
        if spec is None or not spec.submodule_search_locations:
            raise PipelineError(
                "alibi-detect is not installed",
                hint="detectors run in the monitor image; elsewhere install what pipeline/driftloop/images/monitor/requirements.txt lists",
            )
        root = Path(spec.submodule_search_locations[0])
        for package in _PACKAGES:
            bare = types.ModuleType(package)
            bare.__path__ = [str(root.joinpath(*package.split(".")[1:]))]
            sys.modules[package] = bare
    with pandas_left_out():
        return getattr(importlib.import_module(f"alibi_detect.{module}"), name)
