"""DL309, DL310: what limits and starts workflows: semaphores and schedules."""

import re
from collections.abc import Iterator
from zoneinfo import available_timezones

from driftloop.check.finding import RuleMatch, rule
from driftloop.check.flows import semaphores
from driftloop.check.world import CONFIG_MAP, CRON, World
from driftloop.text.node import YamlNode
from driftloop.text.words import list_names, suggest_names

_ZONE = re.compile(r"(?:CRON_)?TZ=(\S+)\s+")
_FIELDS = ("minute", "hour", "day of month", "month", "day of week")


@rule(
    "DL309",
    "A semaphore's limit is not in its ConfigMap, or is not a number",
    fix="name a key whose value is a whole number in quotes",
)
def semaphore_limit(world: World) -> Iterator[RuleMatch]:
    """Argo can't read the limit: the workflow stays pending, or ends in an error, before its first
    pod."""
    for one, reference in semaphores(world):
        name, key = reference.get("name").text, reference.get("key")
        targets = world.named(CONFIG_MAP, name, one.namespace)
        if not key.text or "{{" in key.text or not targets:
            continue
        data = {
            member: value
            for other in targets
            for member, value in other.node.get("data").map.items()
        }
        if key.text not in data:
            yield one.at(
                key,
                f"{targets[0].subject} has no key {key.shown}; {list_names(data, 'keys')}",
                fix=suggest_names(key.text, data),
            )
        elif not re.fullmatch(r"\s*[0-9]+\s*", data[key.text].source or data[key.text].text):
            shown = data[key.text].shown
            yield one.at(key, f"{targets[0].subject}: {key.shown} is {shown}, must be a number")


@rule(
    "DL310",
    "A schedule that Argo can't read",
    fix="write five fields (minute hour day-of-month month day-of-week) and a time zone of the IANA list",
)
def schedule(world: World) -> Iterator[RuleMatch]:
    """The CronWorkflow gets a condition `SpecError` and starts nothing, and nobody is told."""
    for cron in world.of(CRON):
        zone = cron.spec.get("timezone")
        zones = available_timezones() if zone.text else frozenset()
        if zones and zone.text not in zones:
            yield cron.at(
                zone, f"time zone {zone.shown} does not exist", fix=suggest_names(zone.text, zones)
            )
        for node in (*cron.spec.get("schedules").list, cron.spec.get("schedule")):
            reason = _find_fault(node)
            if reason:
                yield cron.at(node, reason)


def _find_fault(node: YamlNode) -> str:
    """Return what is wrong with the form of a schedule; empty when nothing is."""
    text = _ZONE.sub("", node.text.strip(), count=1)
    if not text or text.startswith("@") or "{{" in text or "$" in text:
        return ""
    count = len(text.split())
    if count == len(_FIELDS):
        return ""
    return f"schedule {node.shown} has {count} fields, must have five: {', '.join(_FIELDS)}"
