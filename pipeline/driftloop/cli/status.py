"""`driftloop status`: what runs, release and weights, last verdicts, last run, applied commit; here or on a cluster."""

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import click
import yaml

from driftloop.contract import trees
from driftloop.errors import LocalError
from driftloop.local.ground import addresses, binaries, memory
from driftloop.local.ground.state import State

Json = dict[str, Any]


@click.command()
@click.option("--state", "folder", type=click.Path(path_type=Path), default=Path(".driftloop"), show_default=True)
@click.option("--cluster", is_flag=True, help="Of the cluster that KUBECONFIG points at, instead of a state folder.")
@click.option(
    "--kubeconfig", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Instead of KUBECONFIG."
)
@click.option("--context", help="Context of the kubeconfig.")
@click.option("-n", "--namespace", "namespaces", multiple=True, help="Only this pipeline's namespace; repeatable.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def command(
    *,
    folder: Path,
    cluster: bool,
    kubeconfig: Path | None,
    context: str | None,
    namespaces: tuple[str, ...],
    output: str,
) -> None:
    """Tell what runs from this state folder, or with --cluster what runs there. Exit code 1 when nothing does.

    Of a cluster it reads only, asks nothing but the API server, and says what it could not read.
    """
    if cluster:
        found = _of_cluster(kubeconfig, context, namespaces)
    elif kubeconfig or context or namespaces:
        raise click.UsageError("--kubeconfig, --context and --namespace are for --cluster")
    else:
        found = _of_folder(folder)
    click.echo(json.dumps(found, indent=1) if output == "json" else _table(found))


def _of_cluster(kubeconfig: Path | None, context: str | None, namespaces: tuple[str, ...]) -> Json:
    from driftloop.cluster import reader, status

    api = reader.ApiReader(kubeconfig, context)
    return status.overview(api, where=api.address, namespaces=namespaces)


def _of_folder(folder: Path) -> Json:
    state = State.at(folder)
    if not state.exists():
        raise LocalError(f"{state.root} is no state folder", hint="name the one `up` used with --state")
    found = _asked(state)
    if found is None:
        raise LocalError(f"nothing runs in {state.root}", hint="start it with `driftloop up`")
    pids = [found["pid"], *(process["pid"] for process in found["processes"] if process["pid"])]
    sizes = memory.shares(pids)
    found["memory"] = {"up": sizes.get(found["pid"], 0.0), "total": memory.total(state)}
    for process in found["processes"]:
        process["memory"] = sizes.get(process["pid"], 0.0)
    found["releases"] = _releases(state)
    found["gateway"] = f"http://127.0.0.1:{found['ports']['gateway']}"
    return found


def _asked(state: State) -> Json | None:
    """What the running supervisor says, or None when there is none."""
    if (pid := state.holder()) is None:
        return None
    url = f"http://127.0.0.1:{state.known_ports().get('api', 0)}/status"
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            found: Json = json.load(answer)
            return found
    except (OSError, ValueError) as error:
        raise LocalError(
            f"process {pid} runs {state.root}, but does not answer yet ({error})", hint="try again in a moment"
        ) from error


def _releases(state: State) -> dict[str, Json]:
    """Phase, releases and weights of each pipeline at the branch's tip."""
    git = [binaries.git(), f"--git-dir={state.repository}"]
    names = subprocess.run(
        [*git, "ls-tree", "-r", "--name-only", addresses.BRANCH, f"{trees.DEPLOYMENTS}/"],
        capture_output=True, text=True, check=False,
    ).stdout.split()  # fmt: skip
    found: dict[str, Json] = {}
    for name in names:
        if name.endswith(f"/{trees.RELEASE}"):
            text = subprocess.run(
                [*git, "show", f"{addresses.BRANCH}:{name}"], capture_output=True, text=True, check=True
            )
            spec = (yaml.safe_load(text.stdout) or {}).get("spec") or {}
            found[name.split("/")[1]] = {
                "phase": spec.get("phase"),
                "production": (spec.get("production") or {}).get("id"),
                "candidate": (spec.get("candidate") or {}).get("id"),
                "weights": spec.get("weights") or {},
            }
    return found


def _table(found: Json) -> str:
    applied, tip = found["applied"], found["tip"]
    lines = [
        f"state    {found['state']}",
        f"gateway  {found['gateway'] or 'none'}",
        f"commit   {(applied or 'none')[:12]} applied"
        + ("" if applied == tip else f", {(tip or '')[:12]} is the branch's tip"),
    ]
    lines += [f"refused  {line}" for line in (found["refused"] or "").splitlines()]
    refused = found["refused"] or ""
    lines += [f"waiting  {line}" for line in found["waiting"] if line.partition(": ")[2] not in refused]
    if found["stuck"]:
        lines.append(f"stuck    {found['stuck']}")
    lines += [f"disk     {line}" for line in found.get("disk", ())]
    for name, release in found["releases"].items():
        weights = ", ".join(f"{key} {value}%" for key, value in release["weights"].items())
        parts = [f"production {release['production'] or 'none'}"]
        if release["candidate"]:
            parts.append(f"candidate {release['candidate']}")
        if weights:
            parts.append(f"weights {weights}")
        lines.append(f"release  {name}: {release['phase']}; {'; '.join(parts)}")
    for name, verdict in sorted(found["verdicts"].items()):
        word = "ALARM" if verdict.get("alarm") else "quiet"
        lines.append(f"verdict  {name}: {word}, window {verdict.get('window')} of {verdict.get('release')}, "
                     f"score {_short(verdict.get('score'))}, threshold {_short(verdict.get('threshold'))}"
                     + _outdated(verdict, found["releases"].get(name.split("/")[1])))  # fmt: skip
    for name, phase in sorted(found["decisions"].items()):
        lines.append(f"decision {name}: {phase}")
    for name, run in sorted(found["runs"].items()):
        end = f", {run['finishedAt']}" if run.get("finishedAt") else ""
        why = f" ({run['message']})" if run.get("message") and run["phase"] in ("Failed", "Error") else ""
        lines.append(f"run      {name}: {run['name']} {run['phase']}{end}{why}")
    lines += [f"unknown  {line}" for line in found.get("unknown", ())]
    rows = [("PROCESS", "PID", "PHASE", "UP", "RESTARTS", "MB")]
    if found["memory"] is not None:
        rows.append(("up", str(found["pid"]), "ready", _span(found["uptime"]), "0", f"{found['memory']['up']:.0f}"))
    rows += [
        (
            process["name"],
            str(process["pid"] or "-"),
            process["phase"],
            _span(process["uptime"]),
            str(process["restarts"]),
            "-" if process["memory"] is None else f"{process['memory']:.0f}",
        )
        for process in found["processes"]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines.append("")
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if found["memory"] is not None:
        lines.append(f"total {found['memory']['total']:.0f} MB (proportional set size of everything it started)")
    return "\n".join(lines)


def _short(value: object) -> str:
    """Four digits: enough to compare a score with its threshold."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _outdated(verdict: Json, release: Json | None) -> str:
    """What to say of a verdict on a release that is not production any more: its last window is never filled."""
    production = (release or {}).get("production")
    if production is None or verdict.get("release") == production:
        return ""
    return f" (replaced by {production}, whose next window is not full yet)"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 7200 else f"{seconds / 3600:.1f}h"
