"""Signatures of what a cluster serves, where its pipelines sign: keys that are missing, releases that
no trusted key has signed, and pods that are started without the check."""

import json
from collections.abc import Generator, Mapping
from typing import Any

from driftloop.cluster.findings import DoctorFinding, Findings, Level
from driftloop.cluster.reader import Reader, items
from driftloop.contract import platform as contract
from driftloop.contract.documents import DocumentError
from driftloop.contract.names import OWN_SELECTOR, PLATFORM, SIGNING_SECRET
from driftloop.release.minisign import PublicKey, SignatureError, read_public_keys
from driftloop.release.signing import DistrustError, verify_part
from driftloop.release.statement import SignedPart

Json = Mapping[str, Any]


def signatures(reader: Reader) -> Findings:
    """The keys of each namespace whose pipelines sign releases, and what its Deployments serve."""
    for home in items(reader, f"/api/v1/namespaces?{OWN_SELECTOR}") or []:
        namespace = home["metadata"]["name"]
        templates = items(
            reader, f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/workflowtemplates"
        )
        if not any(f'"{SIGNING_SECRET}"' in json.dumps(template) for template in templates or []):
            continue
        keys = yield from _find_keys(reader, namespace)
        if keys:
            yield from _find_untrusted(reader, namespace, keys)


def _find_keys(
    reader: Reader, namespace: str
) -> Generator[DoctorFinding, None, tuple[PublicKey, ...]]:
    base = f"/api/v1/namespaces/{namespace}"
    fix = f"`driftloop secrets signing-key -n {namespace} …`, and commit what it writes"
    if reader.get(f"{base}/secrets/{SIGNING_SECRET}") is None:
        yield DoctorFinding(
            Level.WRONG,
            f"{namespace} has no Secret {SIGNING_SECRET}: a run can't commit its release",
            fix,
        )
    settings = reader.get(f"{base}/configmaps/{PLATFORM}") or {}
    text = (settings.get("data") or {}).get(contract.SIGNING_KEYS.key) or ""
    label = f"`{contract.SIGNING_KEYS.key}` of ConfigMap {PLATFORM} in {namespace}"
    try:
        keys = read_public_keys(text, label=label)
    except SignatureError as error:
        yield DoctorFinding(Level.WRONG, error.message, error.hint or "")
        return ()
    if not keys:
        yield DoctorFinding(
            Level.WRONG, f"{label} has no key: no pod of a signed release starts", fix
        )
    return keys


def _find_untrusted(reader: Reader, namespace: str, keys: tuple[PublicKey, ...]) -> Findings:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    for deployment in items(reader, path) or []:
        name = f"{namespace}/{deployment['metadata']['name']}"
        for container in deployment["spec"]["template"]["spec"].get("initContainers") or []:
            arguments = container.get("args") or []
            if (container.get("command") or [])[:3] != ["driftloop", "step", "fetch"]:
                continue
            options = dict(zip(arguments[::2], arguments[1::2], strict=False))
            problem = _describe_problem(options, keys)
            if "--signature" not in options:
                yield DoctorFinding(
                    Level.NOTE,
                    f"Deployment {name} starts without a check of its release's signature",
                    "its release was made before `signatures` was in the spec; or somebody took the check out of the "
                    "rendered file: `driftloop render --check` compares it",
                )
            elif problem is not None:
                yield DoctorFinding(
                    Level.WRONG,
                    f"Deployment {name}: {problem}",
                    "find out who changed it; `driftloop rollback` goes back to a release that is signed",
                )
            else:
                yield DoctorFinding(Level.OK, f"Deployment {name} serves what is signed")


def _describe_problem(options: Mapping[str, str], keys: tuple[PublicKey, ...]) -> str | None:
    try:
        part = SignedPart.parse(options.get("--part", ""))
        verify_part(options.get("--statement", ""), options.get("--signature", ""), part, keys)
    except (DocumentError, DistrustError) as error:
        return error.message
    return None
