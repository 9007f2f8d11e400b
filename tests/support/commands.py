"""Commands typed in the process of the tests: the libraries load once for all of them."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.request import install_opener

import pytest

from driftloop.cli.lazy import run_group
from driftloop.cli.root import root


def type_command(
    *arguments: str, folder: Path, environment: Mapping[str, str] | None = None, code: int = 0
) -> "subprocess.CompletedProcess[str]":
    """Run `driftloop …` in a folder to its end; what it wrote. It must end with `code`, without a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        if environment is not None:
            for name in set(os.environ) - set(environment):
                patch.delenv(name)
            for name, value in environment.items():
                patch.setenv(name, value)
        patch.setattr(sys, "argv", ["driftloop", *arguments])
        install_opener(None)  # urllib keeps the proxies of its first call
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            run_group(root)
    assert ended.value.code == code, out.getvalue() + err.getvalue()
    assert "Traceback" not in err.getvalue()
    return subprocess.CompletedProcess(sys.argv, code, out.getvalue(), err.getvalue())
