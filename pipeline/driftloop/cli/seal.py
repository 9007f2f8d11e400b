"""`driftloop seal`: a Secret in, a SealedSecret out, without asking the cluster."""

from pathlib import Path
from typing import Any, TextIO

import click
import pydantic
import yaml

from driftloop.cluster import sealing, text
from driftloop.kube.sealed import Scope, SealedSecret, SealError, plain, scope_of

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
    help="The controller's certificate (`kubeseal --fetch-cert`, or its tls.crt).",
)
@click.option(
    "--scope",
    type=click.Choice([s.value for s in Scope]),
    help="Where it may be opened.  [default: what the Secret's annotations say, else strict]",
)
@click.option("-n", "--namespace", help="Namespace of a Secret that names none.")
@click.option("--re-seal", "again", is_flag=True, help="FILE is a SealedSecret: open it and seal it for --cert.")
@click.option(
    "--private-key",
    "keys",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A private key of the old controller, for --re-seal; may be given several times.",
)
def command(
    *, file: TextIO, cert: Path, scope: str | None, namespace: str | None, again: bool, keys: tuple[Path, ...]
) -> None:
    """Seal the Secrets of FILE (default: stdin) for one cluster; the result may be committed.

    Works offline and writes what kubeseal writes. The plain Secret is never written anywhere.
    """
    if again and not keys:
        raise click.UsageError("--re-seal needs --private-key: only that opens the old values")
    key = sealing.certificate(cert.read_bytes())
    try:
        documents = [document for document in yaml.safe_load_all(file) if document is not None]
    except yaml.YAMLError as error:
        raise SealError(f"{file.name} is not YAML: {error}") from error
    if not documents:
        raise SealError(f"{file.name} holds no object")
    private = sealing.private_keys(path.read_bytes() for path in keys)
    results = []
    for document in documents:
        if again:
            results.append(sealing.reseal(_sealed(document), private, key))
            continue
        secret = plain(document)
        if namespace is not None:
            found = secret.metadata.namespace
            if found is not None and found != namespace:
                raise SealError(f"the Secret says namespace `{found}`, --namespace says `{namespace}`")
            secret = secret.model_copy(update={"metadata": secret.metadata.model_copy(update={"namespace": namespace})})
        chosen = Scope(scope) if scope is not None else scope_of(secret.metadata.annotations)
        results.append(sealing.seal(secret, key, chosen))
    click.echo(text.dump(*(result.dump() for result in results)), nl=False)


def _sealed(document: Any) -> SealedSecret:
    try:
        metadata, spec = _known(document["metadata"]), document["spec"]
        template = dict(spec.get("template") or {})
        template["metadata"] = {"name": metadata["name"], **_known(template.get("metadata") or {})}
        return SealedSecret.model_validate(
            {
                "apiVersion": document["apiVersion"],
                "kind": document["kind"],
                "metadata": metadata,
                "spec": {"encryptedData": spec["encryptedData"], "template": template},
            }
        )
    except (KeyError, TypeError, AttributeError, pydantic.ValidationError) as error:
        raise SealError("that is not a SealedSecret of bitnami.com/v1alpha1", hint=str(error)) from error


def _known(metadata: dict[str, Any]) -> dict[str, Any]:
    """Without what a cluster adds (uid, creationTimestamp …)."""
    return {k: v for k, v in metadata.items() if k in ("name", "namespace", "labels", "annotations")}
