"""kustomize.config.k8s.io/v1beta1: the kustomization.yaml of a folder."""

from typing import Literal

from driftloop.kube.base import ObjectPart


class KustomizationFile(ObjectPart):
    """The files of a folder, named one by one."""

    api_version: Literal["kustomize.config.k8s.io/v1beta1"] = "kustomize.config.k8s.io/v1beta1"
    kind: Literal["Kustomization"] = "Kustomization"
    resources: tuple[str, ...]
