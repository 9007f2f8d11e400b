"""The table of commands, in the order a user meets them."""

import click

from driftloop import __version__
from driftloop.cli.lazy import LazyGroup

COMMANDS = {
    "init": ("driftloop.cli.init", "Write a new model project to start from"),
    "validate": ("driftloop.cli.validate", "Check a spec, or Kubernetes YAML whoever wrote it"),
    "explain": ("driftloop.cli.explain", "Say what a finding of `validate` means"),
    "schema": ("driftloop.cli.schema", "Print the JSON Schema of a spec, for editors"),
    "plan": ("driftloop.cli.plan", "Show what a commit would change"),
    "render": ("driftloop.cli.render", "Write the Kubernetes objects of a spec into a folder"),
    "commit": ("driftloop.cli.commit", "Render a spec and commit it to the cluster repository"),
    "up": ("driftloop.cli.up", "Run the cluster repository on this machine"),
    "down": ("driftloop.cli.down", "Stop everything `up` started"),
    "status": ("driftloop.cli.status", "What runs, which release, which weights, last verdicts, last run"),
    "logs": ("driftloop.cli.logs", "Print the log of one part, or the timeline"),
    "env": ("driftloop.operations.env", "Print addresses and keys of the local platform for other programs"),
    "trigger": ("driftloop.cli.trigger", "Ask for a training run through the webhook"),
    "halt": ("driftloop.cli.halt", "Let nothing start a training run, until `resume`"),
    "resume": ("driftloop.cli.resume", "Let alarms, schedules and persons start runs again"),
    "promote": ("driftloop.cli.promote", "Promote the candidate, in git"),
    "rollback": ("driftloop.cli.rollback", "Restore the previous release by one commit"),
    "remove": ("driftloop.cli.remove", "Take a pipeline out of the cluster repository, in order"),
    "seal": ("driftloop.cli.seal", "Seal a Secret for a cluster, offline"),
    "secrets": ("driftloop.cli.secrets", "Make the platform's settings and credentials, sealed"),
    "doctor": ("driftloop.cli.doctor", "What is wrong with a cluster, and what to do about it"),
    "demo": ("driftloop.cli.demo", "The whole story on this machine"),
    "step": ("driftloop.cli.step", "What workflow containers run"),
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
