"""The defects of a hand-written retrain loop: each is found by its code, at its line."""

import pytest

from driftloop.check import Severity, check_files

SENSOR = """\
apiVersion: argoproj.io/v1alpha1
kind: Sensor
metadata: {name: retrain}
spec:
  template: {serviceAccountName: operate-workflow-sa}
  dependencies:
  - {name: drift, eventSourceName: webhook, eventName: drift}
  triggers:
  - template:
      name: train
      k8s:
        group: argoproj.io
        version: v1alpha1
        resource: workflows
        operation: create
        source:
          resource:
            apiVersion: argoproj.io/v1alpha1
            kind: Workflow
            metadata: {generateName: mnist-train-}
            spec:
              entrypoint: train
              templates:
              - name: train
                inputs:
                  parameters: [{name: epochs}, {name: batch-size}]
                container:
                  image: acme/mnist-train:0.1.0
                  command: [aiga_train]
                  args: ["{{inputs.parameters.epochs}}", "{{inputs.parameters.batch-size}}", -m, /tmp/metadata.json]
                outputs:
                  artifacts:
                  - {name: model, path: /tmp/model}
                  - {name: metadata, path: /tmp/meta.json}
"""
DEPLOYMENT = """\
apiVersion: machinelearning.seldon.io/v1alpha2
kind: SeldonDeployment
metadata: {name: mnist}
spec:
  predictors:
  - name: main
    graph:
      name: classifier
      type: MODEL
      logger: {mode: all, url: http://default-broker}
      parameters: [{name: model_uri, type: STRING, value: s3://models/mnist}]
    componentSpecs: [{spec: {containers: [{name: classifier, image: acme/mnist-serve:0.1.0}]}}]
  - name: candidate
    shadow: true
    graph:
      name: classifier
      type: MODEL
      parameters:
      - {name: model_uri, type: STRING, value: s3://models/mnist}
      - {name: rate, type: FLOAT, value: 0.5}
    componentSpecs: [{spec: {containers: [{name: classifier, image: acme/mnist-serve:0.1.0}]}}]
"""
TRIGGER = """\
apiVersion: eventing.knative.dev/v1beta1
kind: Trigger
metadata: {name: catch-all}
spec:
  broker: default
  subscriber: {ref: {apiVersion: v1, kind: Service, name: outlier-detector}}
"""
WEBHOOK = """\
apiVersion: argoproj.io/v1alpha1
kind: EventSource
metadata: {name: webhook}
spec:
  webhook:
    drift: {port: 12000, endpoint: /drift, method: POST}
"""
GATEWAY = """\
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata: {name: seldon-gateway, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
"""
FLUX = """\
apiVersion: kustomize.toolkit.fluxcd.io/v1beta1
kind: Kustomization
metadata: {name: mnist, namespace: flux-system}
spec: {interval: 1m, path: ./mnist, prune: true, validation: client, sourceRef: {kind: GitRepository, name: mnist}}
"""
SECRET = """\
apiVersion: v1
kind: Secret
metadata: {name: minio}
data:
  accesskey: bWluaW8=
"""
BUS = """\
apiVersion: argoproj.io/v1alpha1
kind: EventBus
metadata: {name: default}
spec: {nats: {native: {replicas: 3}}}
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SENSOR, {("DL204", 21), ("DL308", 34)}),
        (DEPLOYMENT, {("DL216", 10), ("DL107", 20), ("DL411", 19)}),
        (TRIGGER, {("DL111", 1), ("DL213", 3)}),
        (WEBHOOK, {("DL105", 6), ("DL802", 6)}),
        (GATEWAY, {("DL803", 6)}),
        (FLUX, {("DL111", 1)}),
        (SECRET, {("DL801", 4)}),
        (BUS, {("DL112", 4)}),
    ],
    ids=["sensor", "deployment", "trigger", "webhook", "gateway", "flux", "secret", "bus"],
)
def test_a_defect_is_found_without_any_other_file(
    text: str, expected: set[tuple[str, int]]
) -> None:
    found = check_files({"prototype.yaml": text})
    assert expected <= {(one.code, one.line) for one in found}
    assert {one.code for one in found} == {code for code, _ in expected}
    assert any(one.severity is Severity.ERROR for one in found) or text == GATEWAY
    assert all(one.why and one.fix for one in found)
