"""`driftloop secrets`."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from driftloop.cli import options
from driftloop.cli.lazy import SuggestingGroup
from driftloop.cluster.credentials import Addresses
from driftloop.operations.commits.render import choose_cluster
from driftloop.operations.commits.secrets import (
    DEFAULTS,
    SecretsPlace,
    WrittenPlatform,
    choose_place,
    write_platform,
    write_signing_key,
    write_tracking,
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
  driftloop secrets init --cert cluster.pem -n digits --git-url https://github.com/acme/cluster.git
  driftloop secrets init --cluster prod -n digits --git-url … --values /dev/shm/values.json"""

GROUP_EXAMPLES = """\b
Examples:
  driftloop secrets init --help"""


_cert = click.option(
    "--cert",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificate of the Sealed Secrets controller; needed where the platform file names no other kind of Secrets.",
)
_values = click.option(
    "--values",
    type=click.Path(dir_okay=False, path_type=Path),
    help="New file for the values of the Secrets, outside of the working copy, where others make them: JSON by the keys of "
    "the store (external-secrets), or Secrets in YAML (others).",
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
    """Write the platform's settings, and its credentials as the cluster keeps Secrets."""


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
@click.option(
    "--console-url",
    help="Address of the console in a browser, for the links of dashboards.  [default: the one that is there]",
)
@_values
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
    cert: Path | None,
    git_url: str,
    git_branch: str | None,
    s3_endpoint: str | None,
    s3_region: str | None,
    s3_bucket: str | None,
    data_buckets: tuple[str, ...],
    nats_url: str,
    kubernetes_url: str,
    gateway_url: str | None,
    console_url: str | None,
    values: Path | None,
    cluster: str | None,
    into: Path,
    force: bool,
    yes: bool,
) -> None:
    """Write ConfigMap `driftloop-platform` and the Secrets of each namespace, ready to commit.

    Secrets are kept as `spec.secrets` of the platform file says: sealed for the cluster (the default),
    named in a store that External Secrets reads, encrypted by sops, or not at all, where others make
    them; then what they must hold is told. Each namespace has credentials of its own. What other
    namespaces have stays as it is, so that the command is run again for each further one. For each
    address that is not the platform's own, a NetworkPolicy is written that allows it.
    """
    place = _choose(into, cluster, cert, values)
    if force:
        named = ", ".join(namespaces)
        options.confirm(f"Replace the credentials that {named} may have?", yes=yes)
    ground = place.ground
    store = ground.spec.object_store
    addresses = Addresses(
        git_url=git_url,
        git_branch=git_branch or ground.spec.branch,
        s3_endpoint=s3_endpoint or store.endpoint,
        s3_region=s3_region or store.region,
        nats_url=nats_url,
        kubernetes_url=kubernetes_url,
        gateway_url=gateway_url or ground.spec.gateway.url,
        console_url=console_url or "",
    )
    written = write_platform(
        place,
        namespaces,
        addresses,
        bucket=s3_bucket,
        data=data_buckets,
        environment=os.environ,
        force=force,
    )
    for path in written.paths:
        click.echo(path)
    for path in written.removed:
        click.echo(f"removed {path}: nothing uses it any longer", err=True)
    for note in _list_notes(written):
        click.echo(note, err=True)
    _tell_needed(place, written.needed)


def _choose(
    into: Path, cluster: str | None, cert: Path | None, values: Path | None
) -> SecretsPlace:
    ground = choose_cluster(into, cluster)
    certificate = None if cert is None else cert.read_bytes()
    return choose_place(into, ground, certificate=certificate, values=values)


def _list_notes(written: WrittenPlatform) -> Iterator[str]:
    if written.kept:
        yield f"other namespaces keep what they have: {', '.join(written.kept)}"
    if written.restarts_store:
        yield "the object store restarts when Flux applies this, for it reads its identities at start"
    for name in written.left:
        yield (
            f"`{name}` still has an identity in the platform's own store: remove its key `{name}.json` from the "
            "Secret seaweedfs-s3-config"
        )
    for name, bucket, other in written.shared:
        yield f"`{name}` and `{other}` share the bucket {bucket}: each may change it"
    for name in written.without_users:
        yield f"`{name}` has no user in NATS, which lets nobody in without: run this for it with --force"
    if not written.has_git_password:
        yield "DRIFTLOOP_GIT_PASSWORD is not set: the release step pushes without a credential"
    if written.is_unsigned:
        yield (
            "no key that signs releases is known, so that none is trusted: set DRIFTLOOP_SIGNING_KEY to the one that the "
            "store has, or let --values make one"
        )


def _tell_needed(place: SecretsPlace, needed: Sequence[str]) -> None:
    """Say what others must make, and where its values are."""
    if needed:
        click.echo("others make these Secrets, with these keys:", err=True)
    for line in needed:
        click.echo(f"  {line}", err=True)
    if needed and place.values is not None:
        click.echo(
            f"their values are in {place.values}: bring them to where they belong, and remove the file",
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
@_values
@options.cluster
@_into
def signing_key(
    *, namespace: str, cert: Path | None, values: Path | None, cluster: str | None, into: Path
) -> None:
    """Write a new key that signs a namespace's releases, ready to commit.

    What earlier keys have signed stays trusted, until their lines are taken out of `signing-keys` in
    the ConfigMap. Nothing else of the namespace changes.
    """
    place = _choose(into, cluster, cert, values)
    key, paths = write_signing_key(place, namespace, os.environ)
    for path in paths:
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
@_values
@options.cluster
@_into
def tracking(
    *, namespace: str, cert: Path | None, values: Path | None, cluster: str | None, into: Path
) -> None:
    """Write the credential of a namespace's tracking server (`tracking` of a spec), ready to commit.

    The decision service takes it when it starts. A server that asks for none needs none.
    """
    place = _choose(into, cluster, cert, values)
    paths, needed = write_tracking(place, namespace, os.environ)
    for path in paths:
        click.echo(path)
    _tell_needed(place, needed)
    click.echo(
        f"the decision services of {namespace} take it when they start: "
        f"`kubectl -n {namespace} rollout restart deployment -l app.kubernetes.io/component=decision`",
        err=True,
    )
