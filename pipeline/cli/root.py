"""The table of commands, in the order a user meets them."""

import click

from pipeline import __version__
from pipeline.cli.lazy import LazyGroup

COMMANDS = {
    "init": ("pipeline.cli.init", "Write a new model project to start from"),
    "validate": ("pipeline.cli.validate", "Check a spec, or Kubernetes YAML whoever wrote it"),
    "explain": ("pipeline.cli.explain", "Say what a finding of `validate` means"),
    "schema": ("pipeline.cli.schema", "Print the JSON Schema of a spec, for editors"),
    "plan": ("pipeline.cli.plan", "Show what a commit would change"),
    "render": ("pipeline.cli.render", "Write the Kubernetes objects of a spec into a folder"),
    "commit": ("pipeline.cli.commit", "Render a spec and commit it to the cluster repository"),
    "up": ("pipeline.cli.up", "Run the cluster repository on this machine"),
    "down": ("pipeline.cli.down", "Stop everything `up` started"),
    "status": ("pipeline.cli.status", "What runs, which release, which weights, last verdicts, last run"),
    "logs": ("pipeline.cli.logs", "Print the log of one part, or the timeline"),
    "env": ("pipeline.cli.env", "Print addresses and keys of the local platform for other programs"),
    "trigger": ("pipeline.cli.trigger", "Ask for a training run through the webhook"),
    "halt": ("pipeline.cli.halt", "Let nothing start a training run, until `resume`"),
    "resume": ("pipeline.cli.resume", "Let alarms, schedules and persons start runs again"),
    "promote": ("pipeline.cli.promote", "Promote the candidate, in git"),
    "rollback": ("pipeline.cli.rollback", "Restore the previous release by one commit"),
    "remove": ("pipeline.cli.remove", "Take a pipeline out of the cluster repository, in order"),
    "seal": ("pipeline.cli.seal", "Seal a Secret for a cluster, offline"),
    "secrets": ("pipeline.cli.secrets", "Make the platform's settings and credentials, sealed"),
    "doctor": ("pipeline.cli.doctor", "What is wrong with a cluster, and what to do about it"),
    "demo": ("pipeline.cli.demo", "The whole story on this machine"),
    "step": ("pipeline.cli.steps", "What workflow containers run"),
}

EXAMPLES = """\b
Examples:
  driftloop validate pipeline.yaml
  driftloop up pipeline.yaml
  driftloop status --output json"""


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=EXAMPLES,
)
@click.version_option(__version__, prog_name="driftloop")
def root() -> None:
    """One YAML file per model; the loop from traffic to drift to retraining, every step a git commit."""
