"""The user's function: found by `module:function`, given typed parameters, watched, its failure
told in short."""

import importlib
import inspect
import os
import sys
import threading
import traceback
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftloop.contract.parameters import SEED, ParameterError, convert_parameter
from driftloop.contract.suggestions import suggest_closest
from driftloop.services.trainer.errors import TrainerError

Function = Callable[..., Any]

TIMEOUT = 124
"""Exit code of a function that took too long, as of timeout(1)."""

LONGEST = 240
"""Characters of an exception's text that are told: a timeline and Argo's node message are short."""


@dataclass(frozen=True)
class UserFunction:
    """A function of the user's, with its `module:function` name and where its code lies."""

    name: str
    call: Function
    root: Path

    @property
    def signature(self) -> inspect.Signature:
        """Its parameters."""
        return inspect.signature(self.call)


def load_function(name: str, root: Path) -> UserFunction:
    """Import `module:function` from the folder of the user's code."""
    module_name, found, function_name = name.partition(":")
    if not found or not module_name or not function_name:
        raise TrainerError(
            f"`{name}` is not a function", hint="write module:function, like train:train"
        )
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (
            module_name == error.name or module_name.startswith(error.name + ".")
        ):
            files = ", ".join(sorted(file.stem for file in root.glob("*.py"))) or "none"
            raise TrainerError(
                f"module `{module_name}` does not exist in {root}; modules: {files}"
            ) from error
        raise TrainerError(
            f"importing `{module_name}` failed: module `{error.name}` is not installed",
            hint=f"add the package that contains `{error.name}` to the image's requirements.txt",
            trace=trim_traceback(error, root),
        ) from error
    except (Exception, SystemExit) as error:
        raise TrainerError(
            f"importing `{module_name}` failed: {describe_error(error)}{describe_place(error, root)}",
            trace=trim_traceback(error, root),
        ) from error
    call = getattr(module, function_name, None)
    if not callable(call):
        known = [
            n
            for n, v in vars(module).items()
            if inspect.isfunction(v) and v.__module__ == module.__name__
        ]
        hint = (
            suggest_closest(function_name, known) or f"its functions: {', '.join(known) or 'none'}"
        )
        raise TrainerError(f"module `{module_name}` has no function `{function_name}`", hint=hint)
    return UserFunction(name, call, root)


def takes_parameter(function: UserFunction, name: str) -> bool:
    """Return True if a function can be called with a keyword argument of this name."""
    found = function.signature.parameters
    return name in found or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in found.values())


def build_arguments(
    function: UserFunction, parameters: Mapping[str, Any], given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Build the arguments of the function, and the parameters among them, defaults included.

    `parameters` come from the spec and must be wanted and of the annotated type; `given`
    (folders, seed) are passed where the function names them.
    """
    signature = function.signature
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
    wanted = [
        p for p in signature.parameters.values()
        if p.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    ]  # fmt: skip
    names = [p.name for p in wanted]
    own = [name for name in names if name not in given]
    for name in parameters:
        if name in given and name != SEED:
            raise TrainerError(f"parameter `{name}` is set by driftloop, the spec can't set it")
        if name not in names and not takes_any:
            hint = suggest_closest(name, own) or f"its parameters: {', '.join(own) or 'none'}"
            raise TrainerError(f"`{function.name}` has no parameter `{name}`", hint=hint)
    hints = _read_annotations(function)
    values: dict[str, Any] = {}
    call: dict[str, Any] = {}
    for parameter in wanted:
        name = parameter.name
        if name in parameters:
            try:
                values[name] = call[name] = convert_parameter(
                    parameters[name], hints.get(name, Any), f"parameter `{name}`"
                )
            except ParameterError as error:
                raise TrainerError(error.message) from error
        elif name in given:
            call[name] = given[name]
        elif parameter.default is not inspect.Parameter.empty:
            values[name] = parameter.default
        else:
            missing = f"add `{name}` to train.parameters in the spec"
            raise TrainerError(
                f"`{function.name}` needs the parameter `{name}`",
                hint="write `checkpoint: true` under train in the spec"
                if name == "checkpoint"
                else missing,
            )
    if takes_any:
        extra = {name: value for name, value in parameters.items() if name not in names}
        values |= extra
        call |= extra
    return call, values


@contextmanager
def limit_time(function: UserFunction, seconds: float | None) -> Iterator[None]:
    """End the process, saying where the function hangs, when the block takes longer than
    `seconds`."""
    main = threading.get_ident()

    def expire() -> None:
        frames = traceback.extract_stack(sys._current_frames()[main])
        inside = [frame for frame in frames if _is_users(frame.filename, function.root)]
        where = f" in {Path(inside[-1].filename).name}, line {inside[-1].lineno}" if inside else ""
        sys.stdout.flush()
        sys.stderr.write("".join(traceback.format_list(inside)))
        sys.stderr.write(f"error: `{function.name}` was stopped after {seconds:g} s{where}\n")
        sys.stderr.write(
            "hint: raise the step's timeout in the spec, or make the function faster\n"
        )
        sys.stderr.flush()
        os._exit(TIMEOUT)

    if not seconds:
        yield
        return
    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def run_function(function: UserFunction, call: Mapping[str, Any], seconds: float | None) -> Any:
    """Call it; TrainerError with the user's part of the traceback when it raises."""
    try:
        with limit_time(function, seconds):
            return function.call(**call)
    except (Exception, SystemExit) as error:
        raise TrainerError(
            f"`{function.name}` failed: {describe_error(error)}{describe_place(error, function.root)}",
            trace=trim_traceback(error, function.root),
        ) from error


def describe_error(error: BaseException) -> str:
    """An exception in one line; of a long one, beginning and end."""
    text = " ".join(str(error).split())
    if len(text) > LONGEST:
        text = f"{text[: LONGEST * 2 // 3]} … {text[-LONGEST // 3 :]}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def trim_traceback(error: BaseException, root: Path) -> str:
    """The traceback, from the first line of the user's code to the last one."""
    if isinstance(error, SyntaxError):
        return "".join(traceback.format_exception_only(error))
    frames = traceback.extract_tb(error.__traceback__)
    users = [position for position, frame in enumerate(frames) if _is_users(frame.filename, root)]
    if not users:
        return "".join(traceback.format_exception(error))
    shown = traceback.format_list(frames[users[0] : users[-1] + 1])
    return "".join(
        ["Traceback (most recent call last):\n", *shown, *traceback.format_exception_only(error)]
    )


def describe_place(error: BaseException, root: Path) -> str:
    """` (train.py, line 12)`: the last line of the user's code before the failure."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({Path(error.filename).name}, line {error.lineno})"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename, root)]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _is_users(filename: str, root: Path) -> bool:
    path = Path(filename)
    return path.is_relative_to(root) and "site-packages" not in path.parts


def _read_annotations(function: UserFunction) -> dict[str, Any]:
    """The annotations; one that can't be resolved counts as none."""
    try:
        return typing.get_type_hints(function.call)
    except (NameError, TypeError, AttributeError):
        return {}
