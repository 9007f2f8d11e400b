"""The code beside a spec, and the images that a state folder has registered from it.

An image reference never changes its content, so code that changed needs a new tag: without one,
runs would go on with the old code, and nothing would tell.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from driftloop.contract.columns import SUFFIXES
from driftloop.errors import LocalError, SpecError
from driftloop.local.ground.own_values import Missing, OwnValues, describe_missing
from driftloop.local.ground.state import StateFolder
from driftloop.local.kubelet import images
from driftloop.local.seldon import serving
from driftloop.operations.ground import files
from driftloop.operations.project.columns import check_columns
from driftloop.operations.project.edited import EditedSpec, replace_ref
from driftloop.plan import make_plan
from driftloop.plan.environments import list_references
from driftloop.plan.findings import format_location
from driftloop.plan.images import ALIBI, list_images
from driftloop.spec import Document, InvalidSpec
from driftloop.spec.environment import (
    ConfigKey,
    Reference,
    SecretKey,
    WholeConfig,
    WholeSecret,
)
from driftloop.spec.volumes import ClaimFolder, ConfigFiles, SecretFiles


@dataclass(frozen=True)
class CodeChange:
    """An image of a spec whose folder is not what is registered under its ref."""

    image: str
    ref: str
    context: Path
    kind: Literal["changed", "new"]
    """`new` when nothing is registered under the ref yet."""
    next: str
    """Ref with the next free tag."""

    @property
    def text(self) -> str:
        """The change in one sentence."""
        if self.kind == "new":
            return f"the code of images.{self.image} is registered as `{self.ref}`"
        return (
            f"the code of images.{self.image} in {self.context} has changed, and `{self.ref}` stands for "
            "what it was"
        )


def find_code_changes(
    state: StateFolder, document: Document, folder: Path
) -> tuple[CodeChange, ...]:
    """Return the images of a spec whose folders are not registered as they are now."""
    changes = []
    for name, image in document.pipeline.spec.images.items():
        if image.context is None or not (folder / image.context).is_dir():
            continue
        context = folder / image.context
        kind = images.compare_content(state, image.ref, context)
        if kind != "same":
            following = images.suggest_ref(state, image.ref)
            changes.append(CodeChange(name, image.ref, context, kind, following))
    return tuple(changes)


def refuse_changed_code(changes: tuple[CodeChange, ...]) -> None:
    """Raise LocalError when code has changed under a tag that stands for other code."""
    changed = [change for change in changes if change.kind == "changed"]
    if changed:
        refs = ", ".join(f"`{change.next}`" for change in changed)
        raise LocalError(
            "; ".join(change.text for change in changed),
            hint=f"write {refs} in the spec, or let --bump do it",
        )


def bump_tags(state: StateFolder, spec: Path, report: Callable[[str], None]) -> None:
    """Write the next free tag into a spec for each image whose code has changed.

    SpecError when a ref is pinned, or is not in the file as it is in the spec.
    """
    document = files.read_spec(spec)
    changes = find_code_changes(state, document, spec.parent)

    def bump(text: str) -> str:
        for change in changes:
            if change.kind == "new":
                continue
            if change.ref in document.pipeline.spec.pins:
                raise SpecError(
                    f"{spec}: `{change.ref}` is pinned, and a new tag has no digest yet",
                    hint="push the image under the new tag, write the tag, and use --pin",
                )
            text = replace_ref(text, change.ref, change.next, file=spec)
            report(f"{spec}: images.{change.image} is `{change.next}` now, it was `{change.ref}`")
        return text

    EditedSpec.edit(spec, bump).write_file()


def refuse_local(state: StateFolder, document: Document) -> None:
    """Raise LocalError for a spec that the local runtime can't run, and StepError when the newest
    batch lacks columns of it."""
    serving.check_serve(document.pipeline.spec.serve)
    plan = make_plan(document)
    require_own_values(OwnValues.load(state), document)
    bucket, _, prefix = plan.data.removeprefix("s3://").partition("/")
    folder = state.s3 / bucket / prefix
    if plan.raw_features is None or not folder.is_dir():
        return
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix in SUFFIXES]
    for file in sorted(files, key=lambda path: path.stat().st_mtime)[-1:]:
        batch = (f"{plan.data}/{file.relative_to(folder)}", file)
        check_columns(
            [batch],
            plan.raw_features,
            target=plan.target,
            uses=plan.column_uses,
            monitors=[monitor.settings for monitor in plan.request_monitors],
        )


def require_own_values(held: OwnValues, document: Document) -> None:
    """Raise LocalError for each value that a spec takes from a Secret or ConfigMap, and that this machine does not
    have. The folder of the file that it names is ignored by git then, before a person writes there."""
    problems: list[str] = []
    missing: list[Missing] = []
    for location, reference in list_references(document.pipeline):
        wanted = _name_reference(reference)
        if held.has(wanted):
            continue
        message = f"{format_location(location)} takes {describe_missing(wanted)}"
        problems.append(str(document.source.problem(location, message)))
        missing.append(wanted)
    if problems:
        StateFolder(held.file.parent).ignore_in_git()
        raise LocalError("\n".join(problems), hint=held.explain_lines(missing))


def refuse_local_sources(document: Document) -> None:
    """Raise InvalidSpec for a source that is a path of one machine: no pod of a cluster has it."""
    problems = [
        document.source.problem(
            location := ("spec", "data", "sources", name, "url"),
            f"{format_location(location)} is `{source.url[0]}`, a path of this machine, which a cluster does not have",
            hint="put the files into the bucket with `driftloop data put`, or behind https or an object store",
        )
        for name, source in document.pipeline.spec.data.sources.items()
        if source.address.kind == "file"
    ]
    if problems:
        raise InvalidSpec(problems)


def _name_reference(reference: Reference) -> Missing:
    match reference:
        case SecretKey():
            return "secrets", reference.secret, reference.key
        case ConfigKey():
            return "configs", reference.config, reference.key
        case WholeSecret() | SecretFiles():
            return "secrets", reference.secret, None
        case WholeConfig() | ConfigFiles():
            return "configs", reference.config, None
        case ClaimFolder():
            return "volumes", reference.pvc, None
        case _:
            assert_never(reference)


def register_code(state: StateFolder, spec: Path, report: Callable[[str], None]) -> None:
    """Register the code beside a spec, before its commit.

    LocalError for a spec that can't run here, when code has changed without a new tag; while the platform runs, also for an image
    that is neither registered nor has a folder: its runs would all fail.
    """
    document = files.read_spec(spec)
    refuse_local(state, document)
    changes = find_code_changes(state, document, spec.parent)
    refuse_changed_code(changes)
    for change in changes:
        images.register_image(state, change.ref, change.context, say=report)
        report(change.text)
    if ALIBI in list_images(document.pipeline):
        images.register_alibi(state, say=report)
    if state.find_holder() is not None:
        for image in document.pipeline.spec.images.values():
            if image.context is None:
                images.resolve_image(state, image.ref)
