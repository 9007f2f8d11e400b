"""`driftloop doctor`."""

from pathlib import Path

import click

from driftloop.cli import options
from driftloop.cluster import doctor
from driftloop.cluster.findings import Level
from driftloop.cluster.reader import ApiReader
from driftloop.errors import PipelineError
from driftloop.operations.ground.files import read_platform_file

EXAMPLES = """\b
Examples:
  driftloop doctor
  driftloop doctor --context staging --all
  driftloop doctor --platform driftloop/prod/platform.yaml"""


@click.command("doctor", epilog=EXAMPLES)
@options.kubeconfig
@options.context
@click.option(
    "--platform",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Platform file of the cluster: look for what it names, and for nothing that it does without.",
)
@click.option("--all", "everything", is_flag=True, help="Also print what is in order.")
@options.output
def command(
    *,
    kubeconfig: Path | None,
    context: str | None,
    platform: Path | None,
    everything: bool,
    output: str,
) -> None:
    """Diagnose a cluster, with a fix for each problem. Reads only; works on a partly installed
    cluster.

    Exit code 1 when something is wrong.
    """
    reader = ApiReader(kubeconfig, context)
    ground = doctor.DEFAULT if platform is None else read_platform_file(platform)
    findings = list(doctor.examine(reader, ground))
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
