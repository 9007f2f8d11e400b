"""`driftloop doctor`."""

from pathlib import Path

import click

from driftloop.cli import options
from driftloop.cluster import doctor
from driftloop.cluster.findings import Level
from driftloop.cluster.reader import ApiReader
from driftloop.errors import PipelineError

EXAMPLES = """\b
Examples:
  driftloop doctor
  driftloop doctor --context staging --all"""


@click.command("doctor", epilog=EXAMPLES)
@options.kubeconfig
@options.context
@click.option("--all", "everything", is_flag=True, help="Also print what is in order.")
@options.output
def command(*, kubeconfig: Path | None, context: str | None, everything: bool, output: str) -> None:
    """Diagnose a cluster, with a fix for each problem. Reads only; works on a partly installed
    cluster.

    Exit code 1 when something is wrong.
    """
    findings = list(doctor.examine(ApiReader(kubeconfig, context)))
    wrong = sum(finding.level is Level.WRONG for finding in findings)
    if output != "text":
        rows = [{"level": f.level, "what": f.what, "fix": f.fix} for f in findings]
        options.print_document(rows, output, indent=2)
    else:
        for finding in findings:
            if finding.level is not Level.OK or everything:
                click.echo(f"{finding.level:5}  {finding.what}")
                if finding.fix:
                    click.echo(f"       hint: {finding.fix}")
        click.echo(f"{len(findings)} checks, {wrong} failed", err=True)
    if wrong:
        raise PipelineError(f"{wrong} of {len(findings)} checks failed on this cluster")
