"""What a platform engineer makes once, so that Argo CD follows a cluster's folder."""

from typing import assert_never

from driftloop.errors import RenderError
from driftloop.kube.argocd import Application
from driftloop.platform import PlatformFile
from driftloop.platform.argocd import ArgoCd
from driftloop.platform.model import Flux
from driftloop.resources.argocd import build_root


def build_follower(platform: PlatformFile) -> Application:
    """Return the Application that reads the cluster's folder; RenderError for a cluster that Flux follows."""
    match platform.spec.follower:
        case Flux():
            raise RenderError(
                f"{platform.path}: Flux follows the repository, must be `follows: argocd`",
                hint=f"`flux bootstrap … --path={platform.layout.path}` makes what Flux needs",
            )
        case ArgoCd() as own:
            return build_root(platform, own)
        case other:
            assert_never(other)
