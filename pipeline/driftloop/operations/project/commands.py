"""Commands of a spec that train and evaluate, against the folders of their images: what only running them would tell."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from driftloop.spec.model import Spec

_INTERPRETERS = ("python", "python3", "Rscript", "sh", "bash", "julia", "node", "perl", "ruby")


def list_command_notes(spec: Spec, contexts: Mapping[str, Path]) -> Iterator[str]:
    """Yield a note on each file that a command names and its image's folder lacks, and on metrics that can't be
    looked for."""
    gates = dict.fromkeys(gate.metric for gate in spec.evaluate.gates)
    best = [spec.train.search.best.metric] if spec.train.search is not None else []
    for role, code, image, metrics in (
        ("train", spec.train, spec.train.image, best),
        ("evaluate", spec.evaluate, spec.evaluate.image or spec.train.image, list(gates)),
    ):
        if not code.command:
            continue
        context = contexts.get(image)
        missing = _find_missing(code.command, context)
        if missing is not None:
            yield f"spec.{role}.command names `{missing}`, which {context} does not hold: the image must have it from elsewhere"
        if metrics:
            names = ", ".join(f"`{name}`" for name in metrics)
            yield f"can't tell which metrics `{code.code}` writes: only running it does; not checked: {names}"


def _find_missing(words: tuple[str, ...], context: Path | None) -> str | None:
    """Return the script that a command runs where the folder has no such file."""
    named = words[1] if len(words) > 1 and words[0] in _INTERPRETERS else words[0]
    if context is None or not context.is_dir() or named.startswith(("-", "/")):
        return None
    is_path = "/" in named or (named != words[0] and Path(named).suffix)
    return named if is_path and not (context / named).exists() else None
