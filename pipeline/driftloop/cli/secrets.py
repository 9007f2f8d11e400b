"""`driftloop secrets`."""

import os
from pathlib import Path

import click

from driftloop.cli import options
from driftloop.cli.lazy import SuggestingGroup
from driftloop.cluster.platform import Addresses, store_path
from driftloop.operations.commits.render import choose_cluster
from driftloop.operations.commits.secrets import (
    DEFAULTS,
    seal_platform,
    seal_signing_key,
    seal_tracking,
    write_change,
)

EPILOG = """\b
Credentials are read from the environment, never from the command line:
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY    keys of the object store; random when not set, for the
                                              SeaweedFS that comes with the platform, where
                                              each namespace needs keys of its own
  DRIFTLOOP_GIT_USERNAME, DRIFTLOOP_GIT_PASSWORD    the release step's own credential: it may push one branch
  DRIFTLOOP_WEBHOOK_TOKEN                     random when not set
  DRIFTLOOP_SIGNING_KEY                       key that signs releases, as `minisign -G -W` writes it; random
                                              when not set
  DRIFTLOOP_NATS_USERNAME, DRIFTLOOP_NATS_PASSWORD    the user of a NATS of your own (--nats-url); in the
                                              platform's each namespace has users of its own

\b
Examples:
  driftloop secrets init --cert cluster.pem -n digits --git-url https://github.com/acme/cluster.git"""

GROUP_EXAMPLES = """\b
Examples:
  driftloop secrets init --help"""


_cert = click.option(
    "--cert",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificate of the Sealed Secrets controller.",
)
_into = click.option(
    "--into",
    default=Path("."),
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    show_default=True,
    help="Working copy of the cluster repository.",
)


@click.group("secrets", cls=SuggestingGroup, epilog=GROUP_EXAMPLES)
def command() -> None:
    """Write the platform's settings, and its credentials sealed."""


@command.command("init", epilog=EPILOG)
@click.option(
    "-n",
    "--namespace",
    "namespaces",
    required=True,
    multiple=True,
    help="Namespace of a pipeline; repeatable.",
)
@_cert
@click.option(
    "--git-url", required=True, help="URL of the cluster repository, as pods reach it over http(s)."
)
@click.option(
    "--git-branch",
    help=f"Branch that Flux follows.  [default: that of the platform file, else {DEFAULTS.git_branch}]",
)
@click.option(
    "--s3-endpoint",
    help=f"URL of the object store.  [default: that of the platform file, else {DEFAULTS.s3_endpoint}]",
)
@click.option(
    "--s3-region",
    help=f"Region of the object store.  [default: that of the platform file, else {DEFAULTS.s3_region}]",
)
@click.option(
    "--s3-bucket",
    default=None,
    help="Bucket of runs and models; `driftloop-NAMESPACE` in the platform's store, else `driftloop`.",
)
@click.option(
    "--data-bucket",
    "data_buckets",
    multiple=True,
    help="Bucket of batches, as `data.uri` of a spec names it; repeatable. The namespace's name.",
)
@click.option("--nats-url", default=DEFAULTS.nats_url, show_default=True, help="URL of NATS.")
@click.option(
    "--kubernetes-url",
    default=DEFAULTS.kubernetes_url,
    show_default=True,
    help="URL of the Kubernetes API.",
)
@click.option(
    "--gateway-url",
    help=f"URL of Istio's gateway.  [default: that of the platform file, else {DEFAULTS.gateway_url}]",
)
@options.cluster
@_into
@click.option(
    "--force",
    is_flag=True,
    help="Replace what these namespaces have: with a new token, and with new keys unless they are set.",
)
@options.yes
def init(
    *,
    namespaces: tuple[str, ...],
    cert: Path,
    git_url: str,
    git_branch: str | None,
    s3_endpoint: str | None,
    s3_region: str | None,
    s3_bucket: str | None,
    data_buckets: tuple[str, ...],
    nats_url: str,
    kubernetes_url: str,
    gateway_url: str | None,
    cluster: str | None,
    into: Path,
    force: bool,
    yes: bool,
) -> None:
    """Write ConfigMap and SealedSecret `driftloop-platform` for each namespace, ready to commit.

    Each namespace has credentials of its own. What other namespaces have stays as it is, so that
    the command is run again for each further one. For each address that is not the platform's
    own, a NetworkPolicy is written that allows it.
    """
    if force:
        named = ", ".join(namespaces)
        options.confirm(f"Replace the credentials that {named} may have?", yes=yes)
    ground = choose_cluster(into, cluster)
    store = ground.spec.object_store
    addresses = Addresses(
        git_url=git_url,
        git_branch=git_branch or ground.spec.branch,
        s3_endpoint=s3_endpoint or store.endpoint,
        s3_region=s3_region or store.region,
        nats_url=nats_url,
        kubernetes_url=kubernetes_url,
        gateway_url=gateway_url or ground.spec.gateway.url,
    )
    sealed = seal_platform(
        into,
        ground,
        namespaces,
        addresses,
        bucket=s3_bucket,
        data=data_buckets,
        certificate=cert.read_bytes(),
        environment=os.environ,
        force=force,
    )
    for path in write_change(sealed.change, into, ground.layout):
        click.echo(path)
    for path in map(ground.layout.place, sealed.change.removed):
        click.echo(f"removed {path}: nothing uses it any longer", err=True)
    if sealed.kept:
        click.echo(f"other namespaces keep what they have: {', '.join(sealed.kept)}", err=True)
    if sealed.restarts_store:
        click.echo(
            "the object store restarts when Flux applies this, for it reads its identities at start",
            err=True,
        )
    for name in sealed.left:
        click.echo(
            f"`{name}` still has an identity in the platform's own store: "
            f"remove the key `{name}.json` from {ground.layout.place(store_path(ground.cluster))}",
            err=True,
        )
    for name, bucket, other in sealed.shared:
        click.echo(
            f"`{name}` and `{other}` share the bucket {bucket}: each may change it", err=True
        )
    for name in sealed.without_users:
        click.echo(
            f"`{name}` has no user in NATS, which lets nobody in without: run this for it with --force",
            err=True,
        )
    if not sealed.has_git_password:
        click.echo(
            "DRIFTLOOP_GIT_PASSWORD is not set: the release step pushes without a credential",
            err=True,
        )


SIGNING_EXAMPLES = """\b
The key is read from DRIFTLOOP_SIGNING_KEY, as `minisign -G -W` writes it; without it, it is random.

\b
Examples:
  driftloop secrets signing-key --cert cluster.pem -n digits"""


@command.command("signing-key", epilog=SIGNING_EXAMPLES)
@click.option("-n", "--namespace", required=True, help="Namespace of a pipeline.")
@_cert
@options.cluster
@_into
def signing_key(*, namespace: str, cert: Path, cluster: str | None, into: Path) -> None:
    """Write a new key that signs a namespace's releases, ready to commit.

    What earlier keys have signed stays trusted, until their lines are taken out of `signing-keys` in
    the ConfigMap. Nothing else of the namespace changes.
    """
    ground = choose_cluster(into, cluster)
    key, change = seal_signing_key(
        into, ground, namespace, certificate=cert.read_bytes(), environment=os.environ
    )
    for path in write_change(change, into, ground.layout):
        click.echo(path)
    click.echo(f"releases are signed by key {key.public.name} once this is applied", err=True)


TRACKING_EXAMPLES = """\b
The credential is read from the environment, as MLflow's own tools do: MLFLOW_TRACKING_TOKEN, or
MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.

\b
Examples:
  driftloop secrets tracking --cert cluster.pem -n digits"""


@command.command("tracking", epilog=TRACKING_EXAMPLES)
@click.option("-n", "--namespace", required=True, help="Namespace of a pipeline.")
@_cert
@options.cluster
@_into
def tracking(*, namespace: str, cert: Path, cluster: str | None, into: Path) -> None:
    """Write the credential of a namespace's tracking server (`tracking` of a spec), ready to commit.

    The decision service takes it when it starts. A server that asks for none needs none.
    """
    ground = choose_cluster(into, cluster)
    change = seal_tracking(
        into, ground, namespace, certificate=cert.read_bytes(), environment=os.environ
    )
    for path in write_change(change, into, ground.layout):
        click.echo(path)
    click.echo(
        f"the decision services of {namespace} take it when they start: "
        f"`kubectl -n {namespace} rollout restart deployment -l app.kubernetes.io/component=decision`",
        err=True,
    )
