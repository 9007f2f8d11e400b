"""The images of the platform itself. A ref never changes what it names, so the version is part of it."""

from pipeline import __version__

DRIFTLOOP = f"ghcr.io/driftloop/driftloop:{__version__}"
"""The command line: workflow steps, decision and judge services."""
MONITOR = f"ghcr.io/driftloop/monitor:{__version__}"
"""The detector service."""
TRAINER = f"ghcr.io/driftloop/trainer:{__version__}"
"""What a user's trainer image is built from."""
ENVOY = "docker.io/envoyproxy/envoy:v1.40.0"
"""The request logger beside a model server."""
