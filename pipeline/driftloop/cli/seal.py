"""`driftloop seal`."""

from pathlib import Path
from typing import TextIO

import click

from driftloop.kube.sealed import Scope
from driftloop.operations.commits.render import choose_cluster
from driftloop.operations.commits.seal import keep_secrets, reseal_secrets, seal_secrets
from driftloop.text.dump import dump_documents

EXAMPLES = """\b
Examples:
  kubectl create secret generic git -n digits --from-literal=token=… --dry-run=client -o yaml \\
    | driftloop seal --cert cluster.pem > git.sealedsecret.yaml
  driftloop seal --re-seal git.sealedsecret.yaml --private-key old.key --cert new.pem
  driftloop seal --cluster prod --into ../fleet secret.yaml > git.secret.yaml"""


@click.command("seal", epilog=EXAMPLES)
@click.argument("file", type=click.File("r"), default="-")
@click.option(
    "--cert",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificate of the Sealed Secrets controller (`kubeseal --fetch-cert`, or its tls.crt).",
)
@click.option(
    "--scope",
    type=click.Choice([scope.value for scope in Scope]),
    help="Names and namespaces under which it can be opened.  [default: the Secret's annotations, else strict]",
)
@click.option("-n", "--namespace", help="Namespace of a Secret that names none.")
@click.option(
    "--cluster",
    metavar="NAME",
    help="In place of --cert: cluster whose platform file names another kind of Secrets.",
)
@click.option(
    "--into",
    default=Path("."),
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    show_default=True,
    help="Working copy of the cluster repository, with that file; nothing is written there.",
)
@click.option(
    "--re-seal",
    "again",
    is_flag=True,
    help="FILE is a SealedSecret: open it and seal it for --cert.",
)
@click.option(
    "--private-key",
    "keys",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Private key of the old controller, for --re-seal; repeatable.",
)
def command(
    *,
    file: TextIO,
    cert: Path | None,
    scope: str | None,
    namespace: str | None,
    cluster: str | None,
    into: Path,
    again: bool,
    keys: tuple[Path, ...],
) -> None:
    """Seal the Secrets of FILE (default: stdin) for one cluster; the result can be committed.

    Works offline, and writes what kubeseal writes. With --cluster, the result is what that cluster's
    platform file says: a Secret encrypted by sops, or an ExternalSecret, with the entries that its
    store must have told. The plain Secret is not written anywhere.
    """
    if again and not keys:
        raise click.UsageError("--re-seal needs --private-key: only that opens the old values")
    if cert is None and (again or cluster is None):
        raise click.UsageError(
            "Missing option '--cert'; with Secrets of another kind, '--cluster'."
        )
    if cert is None:
        if scope is not None:
            raise click.UsageError("--scope is for Sealed Secrets: it needs --cert")
        ground = choose_cluster(into, cluster)
        texts, needed = keep_secrets(file, ground, into, namespace=namespace)
        click.echo("---\n".join(texts), nl=False)
        for line in needed:
            click.echo(f"the store must hold {line}", err=True)
        return
    if cluster is not None:
        raise click.UsageError("--cert and --cluster exclude each other")
    if again:
        secrets = reseal_secrets(file, cert.read_bytes(), [key.read_bytes() for key in keys])
    else:
        chosen = Scope(scope) if scope is not None else None
        secrets = seal_secrets(file, cert.read_bytes(), scope=chosen, namespace=namespace)
    click.echo(dump_documents(secret.dump_object() for secret in secrets), nl=False)
