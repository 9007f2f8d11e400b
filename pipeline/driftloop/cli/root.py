"""The commands, in the order a user needs them."""

import os

import click

from driftloop import __version__
from driftloop.cli.lazy import LazyGroup

COMMANDS = {
    "init": ("driftloop.cli.init", "Write a new model project"),
    "validate": ("driftloop.cli.validate", "Validate specs and Kubernetes YAML"),
    "migrate": ("driftloop.cli.migrate", "Rewrite API versions and fields that no longer exist"),
    "explain": ("driftloop.cli.explain", "Explain a finding of `validate`, or a field of the spec"),
    "schema": ("driftloop.cli.schema", "Print the JSON Schema of the spec, for editors"),
    "try": ("driftloop.cli.try_", "Call the functions of a project once, on real data"),
    "backtest": ("driftloop.cli.backtest", "Replay rows through the monitors of a spec"),
    "build": ("driftloop.cli.build", "Build the images of a spec, and driftloop's own"),
    "plan": ("driftloop.cli.plan", "Preview what a commit would change"),
    "render": ("driftloop.cli.render", "Render specs into a folder"),
    "commit": ("driftloop.cli.commit", "Render a spec and commit it to the cluster repository"),
    "up": ("driftloop.cli.up", "Run the cluster repository on this machine"),
    "down": ("driftloop.cli.down", "Stop everything `up` started"),
    "env": ("driftloop.cli.env", "Print addresses and keys of the local platform"),
    "list": ("driftloop.cli.list_", "List the pipelines of a repository or a cluster"),
    "status": ("driftloop.cli.status", "Show releases, weights, verdicts, runs and processes"),
    "console": ("driftloop.cli.console", "Serve pages where the loop can be watched and steered"),
    "logs": ("driftloop.cli.logs", "Print the log of one part, or the timeline"),
    "why": ("driftloop.cli.why", "Explain what the loop waits for"),
    "data": ("driftloop.cli.data", "Put labelled batches into a pipeline's data folder"),
    "access": ("driftloop.cli.access", "Make, list and revoke the keys of a pipeline's callers"),
    "predict": ("driftloop.cli.predict", "Ask the model of a pipeline"),
    "labels": ("driftloop.cli.labels", "Tell a pipeline the right answers to its requests"),
    "runs": ("driftloop.cli.runs", "List training runs, show one, compare two"),
    "reproduce": ("driftloop.cli.reproduce", "Run a training again, and compare its model"),
    "trace": ("driftloop.cli.trace", "Trace a request, release, run, commit or batch"),
    "card": ("driftloop.cli.card", "Write the model card of a release"),
    "report": ("driftloop.cli.report", "Write what happened and why as one page"),
    "traffic": ("driftloop.cli.traffic", "List and export the recorded requests and answers"),
    "tracking": ("driftloop.cli.tracking", "Tell a tracking server what it was not told yet"),
    "releases": ("driftloop.cli.releases", "List the releases of a pipeline"),
    "history": ("driftloop.cli.releases", "Another name of `releases`"),
    "trigger": ("driftloop.cli.trigger", "Start a training run through the webhook"),
    "events": ("driftloop.cli.events", "List and replay the events that nobody took"),
    "approve": ("driftloop.cli.approve", "Approve what waits for a person"),
    "cancel": ("driftloop.cli.cancel", "Cancel a run, or the rollout it led to"),
    "halt": ("driftloop.cli.halt", "Suspend retraining until `resume`"),
    "resume": ("driftloop.cli.resume", "Resume retraining"),
    "release": ("driftloop.cli.release", "Release a model that is registered in MLflow"),
    "promote": ("driftloop.cli.promote", "Make the candidate production"),
    "files": ("driftloop.cli.files", "Carry a release's files to another object store"),
    "rollback": ("driftloop.cli.rollback", "Restore the previous version by one commit"),
    "prune": ("driftloop.cli.prune", "Remove what runs have left and nothing needs"),
    "remove": ("driftloop.cli.remove", "Remove a pipeline from the cluster repository"),
    "seal": ("driftloop.cli.seal", "Seal Secrets for a cluster, offline"),
    "secrets": ("driftloop.cli.secrets", "Write the platform's settings and sealed credentials"),
    "platform": ("driftloop.cli.platform", "Write and upgrade the platform's files, cluster/"),
    "doctor": ("driftloop.cli.doctor", "Diagnose a cluster"),
    "demo": ("driftloop.cli.demo", "Run the whole loop on this machine"),
    "completion": ("driftloop.cli.completion", "Print the completion script of a shell"),
    "version": ("driftloop.cli.version", "Print the version and which extras are installed"),
    "step": ("driftloop.cli.step", "Run one step of a workflow"),
}
SECTIONS = {
    "init": "Write and check",
    "plan": "Commit",
    "up": "Run on this machine",
    "list": "See what runs",
    "data": "Give it data, requests and labels",
    "runs": "Look back",
    "trigger": "Steer the loop",
    "prune": "Clean up",
    "seal": "Set up a cluster",
    "demo": "Other commands",
}
"""First command of each section of the help -> the section's title."""

EXAMPLES = """\b
Examples:
  driftloop validate pipeline.yaml
  driftloop up pipeline.yaml
  driftloop status --output json"""


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=EXAMPLES,
)
@click.version_option(__version__, prog_name="driftloop")
@click.pass_context
def root(context: click.Context) -> None:
    """Run the loop of a model from one YAML file: traffic, drift, retraining, rollout; every
    step a git commit."""
    if os.environ.get("NO_COLOR"):
        context.color = False
