"""The meaning of each finding code, for `driftloop explain` and for the generated reference."""

from collections.abc import Mapping

from driftloop.check.finding import CheckRule
from driftloop.check.rules import RULES

_FAMILIES = {
    "DL0": "Files and objects",
    "DL1": "Values and versions",
    "DL2": "Events: webhook, Sensor, Broker, Trigger",
    "DL3": "Workflows",
    "DL4": "Serving",
    "DL5": "Network and monitoring",
    "DL6": "Workloads and rights",
    "DL7": "Flux and kustomize",
    "DL8": "Security",
    "DL9": "API schemas (with `--schemas`)",
}

_INTRO = """\
# Finding codes

What `driftloop validate PATH…` finds in Kubernetes YAML, whoever wrote it. Codes are stable; `driftloop explain CODE`
prints one. An error breaks something at run time and makes the exit status 1; a warning is a risk that somebody may
have taken knowingly.

**What can be known.** Files are often a part of what a cluster holds, so a name that leads nowhere is an error only
where the files claim to be everything. A namespace is *whole* when the files hold its `Namespace` and nothing in them
puts unseen objects there (a HelmRelease, a remote kustomization). References into a whole namespace must resolve;
into any other they are not judged; `--complete` makes every namespace whole. What is found is always compared: an
event's name with its EventSource, a parameter with its template. Names that others make are never missed:
`driftloop-platform`, what Kubernetes and Istio put in every namespace, what a controller makes of an object in the
files (a SealedSecret its Secret), and what an annotation on the object or on its Namespace names:
`driftloop.dev/external: Secret/registry, ConfigMap/settings`. Secrets and ConfigMaps are missed only where the files
make others of their kind in the same namespace.

In the examples, lines marked `# bad` break the rule, lines marked `# good` keep it, and `# here` is where the finding
stands.
"""


def explained(rule: CheckRule, example: str | None) -> str:
    """One rule, as a terminal shows it."""
    parts = [
        f"{rule.code}  {rule.title}  ({rule.severity})",
        "",
        f"why: {rule.why}",
        f"fix: {rule.fix}",
    ]
    if example is not None:
        parts += ["", *(f"    {line}" for line in example.rstrip().splitlines())]
    return "\n".join(parts)


def reference(examples: Mapping[str, str]) -> str:
    """The whole reference as Markdown; `examples` are code -> text."""
    parts = [_INTRO]
    family = ""
    for rule in RULES:
        if rule.code[:3] != family:
            family = rule.code[:3]
            parts.append(f"\n## {_FAMILIES[family]}\n")
        parts.append(
            f"\n### {rule.code}: {rule.title}\n\n*{rule.severity}* {rule.why}\n\n**Fix:** {rule.fix}.\n"
        )
        if rule.code in examples:
            parts.append(f"\n```yaml\n{examples[rule.code].rstrip()}\n```\n")
    return "".join(parts)
