"""`driftloop seal`."""

from pathlib import Path
from typing import TextIO

import click

from driftloop.kube.sealed import Scope
from driftloop.operations.commits.seal import reseal_secrets, seal_secrets
from driftloop.text.dump import dump_documents

EXAMPLES = """\b
Examples:
  kubectl create secret generic git -n digits --from-literal=token=… --dry-run=client -o yaml \\
    | driftloop seal --cert cluster.pem > git.sealedsecret.yaml
  driftloop seal --re-seal git.sealedsecret.yaml --private-key old.key --cert new.pem"""


@click.command("seal", epilog=EXAMPLES)
@click.argument("file", type=click.File("r"), default="-")
@click.option(
    "--cert",
    required=True,
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
    cert: Path,
    scope: str | None,
    namespace: str | None,
    again: bool,
    keys: tuple[Path, ...],
) -> None:
    """Seal the Secrets of FILE (default: stdin) for one cluster; the result can be committed.

    Works offline, and writes what kubeseal writes. The plain Secret is not written anywhere.
    """
    if again and not keys:
        raise click.UsageError("--re-seal needs --private-key: only that opens the old values")
    if again:
        secrets = reseal_secrets(file, cert.read_bytes(), [key.read_bytes() for key in keys])
    else:
        chosen = Scope(scope) if scope is not None else None
        secrets = seal_secrets(file, cert.read_bytes(), scope=chosen, namespace=namespace)
    click.echo(dump_documents(secret.dump_object() for secret in secrets), nl=False)
