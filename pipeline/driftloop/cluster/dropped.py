"""Events that Knative's channel has dropped, by the metrics of the Broker's filter, asked through the API server.

The channel on JetStream brings an event again after no answer, 5xx, 408 and 429. Any other answer ends it, and only
what failed in all tries is a dead letter: what a subscriber, or whatever answers in its place, refuses is gone.
"""

import re
from collections import Counter

from driftloop.cluster.findings import DoctorFinding, Findings, Level
from driftloop.cluster.reader import ClusterError, ForbiddenError, TextReader, items
from driftloop.cluster.samples import read_samples
from driftloop.contract.names import KNATIVE_NAMESPACE
from driftloop.text.words import count_noun

METRICS_PORT = 9092
"""Port of the filter's metrics, which `metrics-protocol: prometheus` in `config-observability` opens."""
METRIC = "kn_eventing_dispatch_duration_seconds_count"
TRIED_AGAIN = frozenset({"408", "429"})
_TRIGGER = re.compile(r"trigger:(.+)\.([^.]+)")


def dropped_events(reader: TextReader) -> Findings:
    """Events that were dropped since a filter started, by Trigger and status."""
    path = f"/api/v1/namespaces/{KNATIVE_NAMESPACE}/pods"
    pods = items(reader, f"{path}?labelSelector=eventing.knative.dev%2FbrokerRole%3Dfilter") or []
    dropped: Counter[tuple[str, str]] = Counter()
    known = bool(pods)
    for pod in pods:
        name = pod["metadata"]["name"]
        try:
            dropped += count_dropped(
                reader.text(f"{path}/{name}:{METRICS_PORT}/proxy/metrics") or ""
            )
        except ForbiddenError:
            raise
        except ClusterError as error:
            known = False
            yield DoctorFinding(
                Level.NOTE,
                f"whether Knative drops events is not known: {name} shows no metrics: {error.message}",
                "`metrics-protocol: prometheus` in ConfigMap config-observability, and its Deployment restarted",
            )
    if known and not dropped:
        yield DoctorFinding(Level.OK, "Knative has dropped no event since its filter started")
    for (trigger, status), count in sorted(dropped.items()):
        yield DoctorFinding(
            Level.WRONG,
            f"Knative has dropped {count_noun(count, 'event')} of Trigger {trigger}: its subscriber answered {status}, or what answered "
            "in its place",
            "they are in no dead letter; a mesh or proxy that answers for a pod which is not there must refuse the connection, "
            "or answer 503. The count begins anew with the filter",
        )


def count_dropped(text: str) -> Counter[tuple[str, str]]:
    """Return how many events a filter's metrics call dropped, by Trigger (`namespace/name`) and status."""
    found: Counter[tuple[str, str]] = Counter()
    for sample in read_samples(text):
        status = sample.labels.get("http_response_status_code", "")
        if sample.name != METRIC or status[:1] not in ("3", "4") or status in TRIED_AGAIN:
            continue
        match = _TRIGGER.fullmatch(sample.labels.get("messaging_destination_name", ""))
        trigger = f"{match[2]}/{match[1]}" if match is not None else "(of no name)"
        found[trigger, status] += round(sample.value)
    return found
