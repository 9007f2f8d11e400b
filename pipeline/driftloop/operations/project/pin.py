"""Pin the images of specs: the registries return the digest of each tag, and the spec keeps it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from driftloop.operations.ground import files
from driftloop.operations.project.edited import EditedSpec
from driftloop.plan import images, make_plan
from driftloop.spec import Document, Pipeline, pins

Report = Callable[[str], None]


def pin_specs(
    specs: Sequence[Path], mirrors: Mapping[str, str], *, docker_config: Path, report: Report
) -> tuple[EditedSpec, ...]:
    """Return the specs with the digests that the registries return now; an error in one fails
    all.

    `mirrors` maps a registry's host to the URL to ask instead; `docker_config` is Docker's
    config.json with the logins.
    """
    # its HTTP library takes a while to import
    from driftloop.clients.docker_config import DockerConfig
    from driftloop.clients.registry import RegistryClient

    documents = {spec: files.read_spec(spec) for spec in specs}
    unpinned = {
        spec: images.list_unpinned_images(_remove_pins(document))
        for spec, document in documents.items()
    }
    refs = list(dict.fromkeys(ref for spec_refs in unpinned.values() for ref in spec_refs))
    registries = RegistryClient(DockerConfig.read_file(docker_config), mirrors)
    digests = registries.read_digests(refs, say=report) if refs else {}
    return tuple(
        _pin_spec(spec, documents[spec], {ref: digests[ref] for ref in spec_refs}, report)
        for spec, spec_refs in unpinned.items()
    )


def _remove_pins(document: Document) -> Pipeline:
    """Return the pipeline without its pins; InvalidSpec for any other error of the spec."""
    pipeline = document.pipeline
    bare = pipeline.model_copy(update={"spec": pipeline.spec.model_copy(update={"pins": {}})})
    make_plan(Document(bare, document.source))
    return bare


def _pin_spec(
    spec: Path, document: Document, digests: Mapping[str, str], report: Report
) -> EditedSpec:
    before = document.pipeline.spec.pins
    for ref, digest in digests.items():
        if before.get(ref, digest) != digest:
            report(
                f"{spec}: `{ref}` has moved, its digest was {before[ref]}: the tag was pushed again"
            )
    for ref in before.keys() - digests.keys():
        report(f"{spec}: removed the pin of `{ref}`, which is not used any more")
    return EditedSpec.edit(spec, lambda text: pins.written(text, digests, path=str(spec)))
