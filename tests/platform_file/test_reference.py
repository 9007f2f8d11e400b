"""The page of the platform file is that of its models, and every example on it is one that can be read."""

import json
import re
from pathlib import Path

import pytest

from driftloop.platform import parse_platform, platform_schema
from driftloop.platform.model import Platform
from tests.spec.reference import describe_fields

DOCS = Path(__file__).parents[2] / "docs" / "reference"
INTRO = """\
# The platform file

Made from the models in `pipeline/driftloop/platform`; `platform.schema.json` beside this page is the same for editors.
Unknown keys are errors.

A file named `platform.yaml` with `kind: Platform` says of one cluster what a platform engineer decides. Its folder holds the trees of
that cluster (`workflows/`, `deployments/`, `monitors/`), and so its releases; `spec.path` is the folder that Flux reads. Commands find it
by its `metadata.name`, wherever it is in the cluster repository. The smallest one, `driftloop/prod/platform.yaml` beside `clusters/prod`:

```yaml
apiVersion: driftloop.dev/v1alpha1
kind: Platform
metadata: {name: prod}
spec:
  path: clusters/prod
```

With everything in other places than driftloop's own infrastructure has it:

```yaml
apiVersion: driftloop.dev/v1alpha1
kind: Platform
metadata: {name: prod}
spec:
  path: clusters/prod
  branch: main
  flux:
    namespace: flux-system
    sourceRef: {kind: GitRepository, name: fleet}
    dependsOn:
      - name: infra-configs
  images:
    registry: registry.acme.example/platform
    mirrors: {ghcr.io/acme: registry.acme.example/acme}
    pullSecrets: [acme-registry]
  objectStore:
    endpoint: https://s3.eu-central-1.amazonaws.com
    region: eu-central-1
    bucket: acme-models
    credentials: workload-identity
    serviceAccountAnnotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::111122223333:role/driftloop"}
  secrets:
    type: external-secrets
    store: {kind: ClusterSecretStore, name: vault}
    remoteKey: driftloop/{namespace}/{name}
    refresh: 1h
  gateway:
    name: public
    namespace: gateways
    host: models.acme.example
    url: http://ingress.gateways.svc.cluster.local
    pods: {namespace: gateways, labels: {app: ingress}, serviceAccount: ingress}
  retention:
    runs: {default: 30d, longest: 90d}
    traffic: {longest: 14d}
    streams: {broker: {most: 512Mi}}
    schedule: 30 3 * * *
  notifications:
    receivers:
      - {type: slack, name: ops, secret: slack-address, channel: "#ml-alerts"}
      - {type: teams, name: science, secret: teams-address}
      - {type: webhook, name: pager, secret: pager-address}
      - {type: mail, name: mail, to: [ml@acme.example], sender: driftloop@acme.example, server: "smtp.acme.example:587"}
```

A cluster without a platform file has all defaults, `spec.path` `cluster/NAME` and the trees at the repository's root.
"""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("platform.md", describe_fields(INTRO, Platform, platform_schema())),
        (
            "platform.schema.json",
            json.dumps(platform_schema(), indent=2, ensure_ascii=False) + "\n",
        ),
    ],
)
def test_pages_are_up_to_date(name: str, content: str, update: bool) -> None:
    if update:
        (DOCS / name).write_text(content)
    assert (DOCS / name).read_text() == content, (
        "run `pytest tests/platform_file/test_reference.py --update`"
    )


def test_every_example_can_be_read() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", INTRO, re.DOTALL)
    clusters = [parse_platform(text, path="d/prod/platform.yaml").cluster for text in examples]
    assert clusters == ["prod", "prod"]
