"""Rights of a person's containers, within the Pod Security Standard that the namespace keeps."""

from collections.abc import Iterator, Mapping

from driftloop.contract.suggestions import suggest_closest
from driftloop.plan.backends import PodStandard, backend_limits
from driftloop.plan.environments import Place
from driftloop.plan.findings import SpecFinding, format_location, format_names
from driftloop.spec import Pipeline
from driftloop.spec.detector import UserFunction
from driftloop.spec.pods import PodSettings, find_security

CAPABILITIES: Mapping[PodStandard, tuple[str, ...]] = {
    "restricted": ("NET_BIND_SERVICE",),
    "baseline": (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
        *("NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    ),
}
"""Capabilities that a standard lets a container add."""


def check_security(pipeline: Pipeline) -> Iterator[SpecFinding]:
    """Look for rights that the namespace's standard does not give, and for rights of no code."""
    spec = pipeline.spec
    standard = backend_limits(spec.serve).pod_standard
    allowed = CAPABILITIES[standard]
    for at, settings in _list_settings(pipeline):
        for number, name in enumerate(find_security(settings).capabilities.add):
            if name in allowed:
                continue
            place = (*at, "security", "capabilities", "add", number)
            message = (
                f"{format_location(place)} is `{name}`, must be one of: {format_names(allowed)}; the namespace keeps "
                f"the Pod Security Standard `{standard}` with `backend: {spec.serve.backend}`"
            )
            yield SpecFinding(place, message, suggest_closest(name, allowed))
    for name, monitor in spec.monitors.items():
        if find_security(monitor.pod) and not isinstance(monitor, UserFunction):
            place = ("spec", "monitors", name, "pod", "security")
            yield SpecFinding(
                place,
                f"{format_location(place)} has no effect: no code of yours runs in `{name}`, must be of a monitor with "
                "`run`",
                "take it out",
                key=True,
            )


def _list_settings(pipeline: Pipeline) -> Iterator[tuple[Place, PodSettings]]:
    spec = pipeline.spec
    for number, step in enumerate(spec.data.steps):
        yield ("spec", "data", "steps", number, "pod"), step.pod
    yield ("spec", "train", "pod"), spec.train.pod
    yield ("spec", "evaluate", "pod"), spec.evaluate.pod
    yield ("spec", "serve", "pod"), spec.serve.pod
    for name, monitor in spec.monitors.items():
        yield ("spec", "monitors", name, "pod"), monitor.pod
