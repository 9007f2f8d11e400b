"""The graph around a released model: its nodes, its containers, and what stays the same from release to release."""

import json

import pytest
import yaml

from driftloop.kube import core, seldon
from driftloop.plan import Names, make_plan
from driftloop.resources.guarding import network
from driftloop.resources.serving import plain
from driftloop.resources.serving.seldon import seldon_deployment
from driftloop.spec import load_spec
from driftloop.spec.graph import Node, own_names
from tests.resources.test_plain import CANARY, ONE, PROMOTED, TWO
from tests.spec.specs import MINIMAL

GRAPH = """
    type: output-transformer
    name: label
    image: server
    class: Label
    children:
    - type: router
      name: choose
      image: trainer
      class: choice.Choose
      uri: s3://digits/choice/1
      children: [{type: released}, {type: model, name: rules, image: server, class: Rules}]
"""


def deployed(serve: str, release=CANARY) -> seldon.SeldonDeployment:  # type: ignore[no-untyped-def]
    found = seldon_deployment(
        make_plan(load_spec(MINIMAL.replace("{model: Digits}", serve), path="p.yaml")), release
    )
    assert found is not None
    return found


def graph(serve: str = "model: Digits", text: str = GRAPH) -> str:
    indented = text.replace("\n", "\n  ")
    return f"\n    {serve}\n    graph:{indented}"


def nodes_of(text: str = GRAPH) -> Node | None:
    return load_spec(
        MINIMAL.replace("{model: Digits}", graph(text=text)), path="p.yaml"
    ).spec.serve.graph


def walk(node: seldon.PredictiveUnit) -> list[seldon.PredictiveUnit]:
    return [node, *(found for child in node.children or () for found in walk(child))]


def test_each_node_has_its_container_and_only_the_released_one_is_logged() -> None:
    for predictor, version in zip(deployed(graph()).spec.predictors, (ONE, TWO), strict=True):
        nodes = walk(predictor.graph)
        assert [(node.name, node.type) for node in nodes] == [
            ("label", "OUTPUT_TRANSFORMER"),
            ("choose", "ROUTER"),
            ("model", "MODEL"),
            ("rules", "MODEL"),
        ]
        assert [node.name for node in nodes if node.logger is not None] == ["model"]
        assert {node.name: node.model_uri for node in nodes if node.model_uri} == {
            "choose": "s3://digits/choice/1",
            "model": version.model,
        }
        assert {node.name for node in nodes if node.env_secret_ref_name} == {"choose"}
        # in one pod with the executor, so that it calls them on the loopback address, which no policy shuts
        (component,) = predictor.component_specs
        containers = {container.name: container for container in component.spec.containers}
        assert list(containers) == ["model", "label", "choose", "rules"]
        assert {name: one.args for name, one in containers.items()} == {
            "model": ("Digits", "--service-type", "MODEL"),
            "label": ("Label", "--service-type", "TRANSFORMER"),
            "choose": ("choice.Choose", "--service-type", "ROUTER"),
            "rules": ("Rules", "--service-type", "MODEL"),
        }
        assert containers["choose"].image == "ghcr.io/acme/digits-trainer:1.0.0"
        assert component.metadata is not None
        assert (
            Names("digits", "digits")
            .operated(version.id, own_names(nodes_of()))
            .endswith(f"-0-{component.metadata.name}")
        )


@pytest.mark.parametrize(
    ("serve", "container"),
    [
        ("{model: Digits}", "model"),
        ("{server: sklearn}", "model"),
        ("{server: triton, protocol: v2}", "model"),
        ("{server: mlflow, protocol: v2}", "model"),
        ("{server: tensorflow, protocol: tensorflow}", "model"),
        ("{server: tensorflow, protocol: seldon}", "tfserving"),
        (graph(), "model"),
    ],
)
def test_the_init_container_that_the_operator_leaves_alone_compares_the_digest(
    serve: str, container: str
) -> None:
    for predictor, version in zip(deployed(serve).spec.predictors, (ONE, TWO), strict=True):
        pod = predictor.component_specs[0].spec
        assert container in [each.name for each in pod.containers]
        (fetch,) = pod.init_containers or ()
        # the names that the operator would give: it adds neither then, and mounts the folder
        assert fetch.name == f"{container}-model-initializer"
        assert (pod.volumes or ())[0].name == f"{container}-provision-location"
        assert fetch.volume_mounts == (
            core.VolumeMount(name=f"{container}-provision-location", mount_path="/mnt/models"),
        )
        digest = ("--digest", version.model_digest)
        assert fetch.args == ("--uri", version.model, *digest, "--out", "/mnt/models")
        assert fetch.termination_message_policy == "FallbackToLogsOnError"


def test_other_nodes_are_another_deployment() -> None:
    """Pods are selected by the names of all nodes; a Deployment whose selector is another one is taken down by the
    operator before it makes the new one, and production with it."""
    names = Names("p" * 34, "p")

    def named(graph: Node | None) -> str:
        return names.operated("r12345678", own_names(graph))

    before = named(nodes_of())
    assert named(None) == f"{names.pipeline}-r12345678-0-model"
    added = "{type: model, name: older, image: server, class: Rules}, {type: model, name: rules"
    others = [
        GRAPH.replace("name: rules", "name: older"),
        GRAPH.replace("{type: model, name: rules", added),
    ]
    assert len({named(None), before, *(named(nodes_of(other)) for other in others)}) == 4
    for same in (GRAPH.replace("Label", "Mark"), GRAPH.replace("type: router", "type: combiner")):
        assert named(nodes_of(same)) == before
    # a longer one would be a hash, by the operator's own settings
    assert len(before) <= 63


@pytest.mark.parametrize(
    "serve", [graph(), graph("server: sklearn"), "{server: triton}", "{server: mlflow}"]
)
def test_a_pod_keeps_its_ports_when_it_is_left_alone(serve: str) -> None:
    """The operator numbers the metrics ports that nobody names across all predictors."""
    ports = [
        [
            (port.name, port.container_port)
            for one in pod.component_specs[0].spec.containers
            for port in one.ports or ()
        ]
        for pod in (*deployed(serve).spec.predictors, *deployed(serve, PROMOTED).spec.predictors)
    ]
    assert ports == [ports[0]] * 3
    assert ports[0] == [("metrics", 6000 + number) for number in range(len(ports[0]))]
    shown = network.network_policies(
        make_plan(load_spec(MINIMAL.replace("{model: Digits}", serve), path="p.yaml"))
    )["model"]
    open_ports = {port.port for rule in shown.spec.ingress or () for port in rule.ports or ()}
    assert open_ports == {8000, *(number for _, number in ports[0])}


@pytest.mark.parametrize(
    ("serve", "probed"),
    [
        ("{server: sklearn}", ["model"]),
        ("{server: mlflow, protocol: v2}", ["model"]),
        ("{server: tensorflow}", ["model"]),
        ("{server: triton}", ["model"]),
        # the operator's probes are of the proxy, which loads nothing
        ("{server: tensorflow, protocol: seldon}", []),
    ],
)
def test_a_server_has_time_to_load_a_large_model(serve: str, probed: list[str]) -> None:
    """It listens when it has loaded; a minute and a quarter after the start, the operator's liveness probe ends it."""
    (component,) = deployed(serve).spec.predictors[0].component_specs
    probes = {
        one.name: one.startup_probe
        for one in component.spec.containers
        if one.startup_probe is not None
    }
    assert list(probes) == probed
    for probe in probes.values():
        # the operator's own name for the port where it listens
        assert probe.tcp_socket == core.TCPSocket(port="http")
        assert (probe.period_seconds or 0) * (probe.failure_threshold or 0) == 600


def test_a_server_of_the_operators_is_in_the_group_that_its_image_is_made_for() -> None:
    def groups(serve: str) -> list[int | None]:
        (component,) = deployed(serve).spec.predictors[0].component_specs
        contexts = [container.security_context for container in component.spec.containers]
        return [context.run_as_group if context is not None else None for context in contexts]

    assert groups("{server: sklearn, protocol: v2}") == [0]
    assert groups("{server: tensorflow, protocol: seldon}") == [0, 0]
    assert groups("{model: Digits}") == [None], "an image of the user's: the pod's own group"


@pytest.mark.parametrize(
    ("serve", "open_"),
    [
        ("{server: mlflow}", True),
        ("{server: mlflow, protocol: v2}", False),
        ("{server: sklearn}", False),
    ],
)
def test_a_server_that_installs_what_its_model_names_reaches_the_packages(
    serve: str, open_: bool
) -> None:
    policy = network.network_policies(
        make_plan(load_spec(MINIMAL.replace("{model: Digits}", serve), path="p.yaml"))
    )["model"]
    anywhere = [
        port.port
        for rule in policy.spec.egress or ()
        if rule.to is None
        for port in rule.ports or ()
    ]
    assert anywhere == ([443] if open_ else [])


def test_a_proxied_server_answers_before_its_pod_is_asked() -> None:
    (component,) = (
        deployed("{server: tensorflow, protocol: seldon}").spec.predictors[0].component_specs
    )
    proxy, serving = component.spec.containers
    # the operator probes only what is a node; where TensorFlow Serving listens is its constant
    assert serving.readiness_probe is not None
    assert serving.readiness_probe.tcp_socket == core.TCPSocket(port=2001)
    # the proxy imports TensorFlow
    assert proxy.resources is not None
    assert (proxy.resources.limits or {})["memory"] == "1Gi"


def test_without_the_operator_a_graph_is_refused_by_name() -> None:
    with pytest.raises(plain.UnsupportedServing, match="has a graph of several nodes") as caught:
        plain.unroll_deployment(
            plain.parse_deployment(yaml.safe_load(json.dumps(deployed(graph()).dump_object())))
        )
    assert "Seldon's operator" in (caught.value.hint or "")


@pytest.mark.parametrize("backend", ["seldon", "plain"])
def test_a_server_with_a_gpu_goes_where_its_profile_says(backend: str) -> None:
    text = MINIMAL.replace(
        "{model: Digits}",
        f"{{model: Digits, backend: {backend}, resources: {{gpu: 2, gpuProfile: amd}}}}",
    )
    amd = "gpus: {amd: {resource: amd.com/gpu, nodeSelector: {gpu: amd}, tolerations: [amd.com/gpu], runtimeClass: null}}"
    found = seldon_deployment(
        make_plan(load_spec(text.replace("spec:\n", f"spec:\n  {amd}\n", 1), path="p.yaml")), CANARY
    )
    assert found is not None
    pods = [predictor.component_specs[0].spec for predictor in found.spec.predictors]
    if backend == "plain":
        pods = [
            one.deployment.spec.template.spec for one in plain.unroll_deployment(found).predictors
        ]
    for pod in pods:
        assert pod.node_selector == {"gpu": "amd"}
        assert [(one.key, one.operator) for one in pod.tolerations or ()] == [
            ("amd.com/gpu", "Exists")
        ]
        assert pod.runtime_class_name is None
        model = pod.containers[0]
        assert model.resources is not None
        assert (model.resources.limits or {})["amd.com/gpu"] == "2"
        assert "/dev/shm" in [mount.mount_path for mount in model.volume_mounts or ()]
        shared = [
            volume.empty_dir for volume in pod.volumes or () if volume.name == "shared-memory"
        ]
        assert [(one.medium, one.size_limit) for one in shared if one is not None] == [
            ("Memory", "1Gi")
        ]
