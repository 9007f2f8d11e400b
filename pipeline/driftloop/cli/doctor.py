"""`driftloop doctor`: look at a cluster, say what is wrong and what to do."""

import json
from pathlib import Path

import click

from driftloop.cluster import doctor
from driftloop.cluster.doctor import Level
from driftloop.cluster.reader import ApiReader
from driftloop.errors import PipelineError


@click.command("doctor")
@click.option(
    "--kubeconfig", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Instead of KUBECONFIG."
)
@click.option("--context", help="Context of the kubeconfig.")
@click.option("--all", "everything", is_flag=True, help="Also say what is well.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(*, kubeconfig: Path | None, context: str | None, everything: bool, output: str) -> None:
    """Say what is wrong with a cluster, each with what to do. Reads only; works on a half-installed one.

    Exit status 1 when something is wrong.
    """
    findings = list(doctor.examine(ApiReader(kubeconfig, context)))
    wrong = sum(finding.level is Level.WRONG for finding in findings)
    if output == "json":
        click.echo(json.dumps([{"level": f.level, "what": f.what, "fix": f.fix} for f in findings], indent=2))
    else:
        for finding in findings:
            if finding.level is not Level.OK or everything:
                click.echo(f"{finding.level:5}  {finding.what}")
                if finding.fix:
                    click.echo(f"       hint: {finding.fix}")
        click.echo(f"{len(findings)} things looked at, {wrong} wrong", err=True)
    if wrong:
        raise PipelineError(f"{wrong} of {len(findings)} things are wrong with this cluster")
