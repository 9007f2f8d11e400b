"""Argo CD as a platform file has it: where its objects are, and what it knows the cluster repository by."""

from driftloop.contract.names import ARGOCD_APPLICATION, ARGOCD_NAMESPACE
from driftloop.platform.values import ObjectName, RepositoryAddress
from driftloop.spec.base import SpecModel
from driftloop.spec.values import NamespaceName


class ArgoCd(SpecModel):
    """Argo CD's objects of the pipelines. It runs on the cluster that it applies to: rollouts read the Applications
    there."""

    repository: RepositoryAddress
    """Address of the cluster repository, as Argo CD is given it: its credentials are found by this text."""
    namespace: NamespaceName = ARGOCD_NAMESPACE
    """Namespace of Argo CD, and so of the pipelines' Applications."""
    application: ObjectName = ARGOCD_APPLICATION
    """Application of that namespace that reads `path`, with `directory.recurse`; it is yours, as the Kustomization of
    `flux bootstrap` is. `driftloop remove` has it refreshed, `status` and `doctor` look at it."""
