"""`driftloop secrets`: what the platform needs to know and must not stand in git in clear."""

import os
import secrets as random
from pathlib import Path

import click

from driftloop.cluster import platform, sealing
from driftloop.contract import platform as contract
from driftloop.errors import PipelineError

ENVIRONMENT = """\b
Credentials come from the environment, never from the command line:
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY    keys of the object store; made at random when absent, for the
                                              SeaweedFS that comes with the platform
  DRIFTLOOP_GIT_USERNAME, DRIFTLOOP_GIT_PASSWORD    the release step's own credential: it may push one branch
  DRIFTLOOP_WEBHOOK_TOKEN                     made at random when absent"""

_DEFAULT = platform.Addresses(git_url="https://example.invalid/x")


@click.group("secrets")
def command() -> None:
    """Make the platform's settings and credentials, sealed."""


@command.command("init", epilog=ENVIRONMENT)
@click.option(
    "-n", "--namespace", "namespaces", required=True, multiple=True, help="A pipeline's namespace; repeatable."
)
@click.option(
    "--cert",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The Sealed Secrets controller's certificate.",
)
@click.option("--git-url", required=True, help="The cluster repository, as pods reach it over http(s).")
@click.option("--git-branch", default=_DEFAULT.git_branch, show_default=True, help="The branch that Flux follows.")
@click.option("--s3-endpoint", default=_DEFAULT.s3_endpoint, show_default=True, help="The object store, with scheme.")
@click.option("--s3-region", default=_DEFAULT.s3_region, show_default=True)
@click.option("--s3-bucket", default=_DEFAULT.s3_bucket, show_default=True, help="Bucket of runs and models.")
@click.option("--nats-url", default=_DEFAULT.nats_url, show_default=True)
@click.option("--kubernetes-url", default=_DEFAULT.kubernetes_url, show_default=True)
@click.option("--gateway-url", default=_DEFAULT.gateway_url, show_default=True)
@click.option(
    "--cluster", default="dev", show_default=True, help="Folder below cluster/ that Flux was bootstrapped with."
)
@click.option(
    "--into",
    default=Path("."),
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="A working copy of the cluster repository.  [default: .]",
)
@click.option("--force", is_flag=True, help="Overwrite earlier ones: new token, and new keys unless given.")
def init(
    *,
    namespaces: tuple[str, ...],
    cert: Path,
    git_url: str,
    git_branch: str,
    s3_endpoint: str,
    s3_region: str,
    s3_bucket: str,
    nats_url: str,
    kubernetes_url: str,
    gateway_url: str,
    cluster: str,
    into: Path,
    force: bool,
) -> None:
    """Write ConfigMap and SealedSecret `driftloop-platform` for each namespace, ready to commit.

    Addresses other than the platform's own get a NetworkPolicy each.
    """
    addresses = platform.Addresses(
        git_url=git_url,
        git_branch=git_branch,
        s3_endpoint=s3_endpoint,
        s3_region=s3_region,
        s3_bucket=s3_bucket,
        nats_url=nats_url,
        kubernetes_url=kubernetes_url,
        gateway_url=gateway_url,
    )
    own_store = s3_endpoint == _DEFAULT.s3_endpoint
    credentials = _credentials(os.environ, own_store=own_store)
    key = sealing.certificate(cert.read_bytes())
    files = platform.tree(
        cluster,
        namespaces,
        addresses,
        credentials,
        lambda secret, scope: sealing.seal(secret, key, scope),
        own_store=own_store,
    )
    there = [path for path in files if (into / path).exists()]
    if there and not force:
        raise PipelineError(
            f"{there[0]} exists already",
            hint="--force overwrites it; running parts keep the old token until they restart",
        )
    for path, text in files.items():
        target = into / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        click.echo(path)
    if not credentials.git_password:
        click.echo("no git credential given: the release step can only push where none is asked for", err=True)


def _credentials(environment: os._Environ[str] | dict[str, str], *, own_store: bool) -> platform.Credentials:
    access = environment.get(contract.ACCESS_KEY.environment, "")
    secret = environment.get(contract.SECRET_KEY.environment, "")
    if bool(access) != bool(secret):
        raise PipelineError("only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set")
    if not access and not own_store:
        raise PipelineError(
            "the object store is your own, and no keys were given",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    token = environment.get(contract.WEBHOOK_TOKEN.environment, "")
    return platform.Credentials(
        access_key=access or random.token_hex(10),
        secret_key=secret or random.token_urlsafe(30),
        git_username=environment.get(contract.GIT_USERNAME.environment, ""),
        git_password=environment.get(contract.GIT_PASSWORD.environment, ""),
        **({"webhook_token": token} if token else {}),
    )
