"""Room in the platform's JetStream, asked of each NATS server through the API server."""

import json

from driftloop.cluster.findings import DoctorFinding, Findings, Level
from driftloop.cluster.reader import ClusterError, TextReader, items
from driftloop.contract.names import NATS_NAMESPACE
from driftloop.contract.streams import BROKER_BYTES, DETECTOR_BYTES, MIB

MONITOR_PORT = 8222
"""Port of a NATS server's monitoring endpoint."""
PIPELINE_BYTES = BROKER_BYTES + 2 * DETECTOR_BYTES
"""Reserved by a pipeline with two detectors and the spec's defaults."""


def jetstream(reader: TextReader) -> Findings:
    """Bytes that streams reserve of each server's store."""
    for pod in items(reader, f"/api/v1/namespaces/{NATS_NAMESPACE}/pods") or []:
        name = pod["metadata"]["name"]
        path = f"/api/v1/namespaces/{NATS_NAMESPACE}/pods/{name}:{MONITOR_PORT}/proxy/jsz"
        try:
            text = reader.text(path)
            answer = json.loads(text) if text else {}
        except ClusterError as error:
            yield DoctorFinding(
                Level.NOTE, f"room in JetStream of {name} is not known: {error.message}"
            )
            continue
        size = answer.get("config", {}).get("max_storage", 0)
        reserved, used = answer.get("reserved_storage", 0), answer.get("storage", 0)
        if not size:
            continue
        what = (
            f"JetStream of {name} has {(size - reserved) // MIB}Mi of {size // MIB}Mi left to "
            f"reserve ({used // MIB}Mi used)"
        )
        if size - reserved < PIPELINE_BYTES:
            yield DoctorFinding(
                Level.WRONG,
                f"{what}: no room for another pipeline of two detectors",
                "lower `events` in the specs, or raise `config.jetstream.fileStore.maxSize` of the "
                "HelmRelease nats",
            )
        else:
            yield DoctorFinding(Level.OK, what)
