"""kustomize.config.k8s.io/v1beta1: the kustomization.yaml of a folder."""

from typing import Literal

from driftloop.kube.base import ObjectPart


class PatchTarget(ObjectPart):
    """The objects that a patch is for; `name` is a regular expression of the whole name."""

    kind: str
    name: str | None = None
    label_selector: str | None = None


class KustomizePatch(ObjectPart):
    """A change of the objects: a list of JSON 6902's operations, or an object to merge, as YAML."""

    target: PatchTarget
    patch: str


class KustomizationFile(ObjectPart):
    """The files of a folder, named one by one."""

    api_version: Literal["kustomize.config.k8s.io/v1beta1"] = "kustomize.config.k8s.io/v1beta1"
    kind: Literal["Kustomization"] = "Kustomization"
    resources: tuple[str, ...]
    patches: tuple[KustomizePatch, ...] | None = None
