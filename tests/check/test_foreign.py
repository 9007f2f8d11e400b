"""What other people write in other ways than our examples: found where it is wrong, left alone where it is right."""

import pytest

from driftloop.check import check_files

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
KUSTOMIZATION = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"


def found(*codes: str, **files: str) -> list[tuple[str, int]]:
    """(code, line) of what is found of these codes, or of all; `a__b` is `a/b.yaml`."""
    texts: dict[str, str | bytes] = {
        name.replace("__", "/") + ".yaml": text for name, text in files.items()
    }
    return [(one.code, one.line) for one in check_files(texts) if not codes or one.code in codes]


def workflow(task: str, *, outputs: str = "") -> str:
    return (
        "apiVersion: argoproj.io/v1alpha1\nkind: WorkflowTemplate\nmetadata: {name: w}\nspec:\n  entrypoint: main\n"
        "  templates:\n  - name: main\n    dag:\n      tasks:\n      - {name: make, template: make}\n"
        f"      - {{name: other-make, template: make}}\n      - {task}\n{outputs}"
        "  - name: make\n    container: {image: 'acme/a:1'}\n    outputs: {artifacts: [{name: model, path: /m}]}\n"
        "  - name: use\n    inputs: {artifacts: [{name: in, path: /in}]}\n    container: {image: 'acme/a:1'}\n"
        "  - name: say\n    inputs: {parameters: [{name: p}]}\n    container: {image: 'acme/a:1'}\n"
    )


def artifact(expression: str, depends: str = "make && other-make") -> str:
    given = f'arguments: {{artifacts: [{{name: in, fromExpression: "{expression}"}}]}}'
    return workflow(f"{{name: use, template: use, depends: '{depends}', {given}}}")


@pytest.mark.parametrize(
    ("expression", "codes"),
    [
        ("tasks.make.outputs.artifacts.model", []),
        (
            "1 > 0 ? tasks.make.outputs.artifacts.model : tasks['other-make'].outputs.artifacts['model']",
            [],
        ),
        ("tasks['make'].outputs.artifacts.model", []),
        (
            "'tasks.gone.outputs.artifacts.model' == '' ? nil : tasks.make.outputs.artifacts.model",
            [],
        ),
        ("workflow.parameters.tasks.gone == '' ? nil : tasks.make.outputs.artifacts.model", []),
        ("tasks.make.outputs.artifacts.modle", [("DL313", 12)]),
        ("tasks['other-make'].outputs.artifacts['modle']", [("DL313", 12)]),
        ("tasks.mkae.outputs.artifacts.model", [("DL312", 12)]),
        ("steps.make.outputs.artifacts.model", [("DL312", 12)]),
    ],
)
def test_expressions_name_steps_and_outputs_that_are_there(
    expression: str, codes: list[tuple[str, int]]
) -> None:
    assert found(w=artifact(expression)) == codes


def test_expressions_wait_for_what_they_name() -> None:
    assert found(w=artifact("tasks.make.outputs.artifacts.model", depends="other-make")) == [
        ("DL312", 12)
    ]
    given = 'arguments: {parameters: [{name: p, value: "{{=tasks.gone.outputs.parameters.q}}"}]}'
    assert found(w=workflow(f"{{name: say, template: say, {given}}}")) == [("DL312", 12)]
    outputs = "    outputs: {artifacts: [{name: o, fromExpression: tasks.make.outputs.artifacts.modle}]}\n"
    assert found(w=workflow("{name: again, template: make}", outputs=outputs)) == [("DL313", 13)]
    inline = (
        "{name: in, depends: make, inline: {dag: {tasks: [{name: x, template: use, arguments: {artifacts: "
        "[{name: in, fromExpression: tasks.make.outputs.artifacts.modle}]}}]}}}"
    )
    assert found(w=workflow(inline)) == [("DL312", 12)]


def predictors(production: str, shadow: str, *, more: str = "") -> str:
    def one(name: str, body: str, rest: str) -> str:
        return f"  - {{name: {name}, {rest}, {body}}}\n"

    return (
        "apiVersion: machinelearning.seldon.io/v1\nkind: SeldonDeployment\nmetadata: {name: s}\nspec:\n  predictors:\n"
        + one("a", production, "traffic: 100")
        + one("b", shadow + more, "shadow: true")
    )


def server(uri: str) -> str:
    return f"graph: {{name: c, implementation: SKLEARN_SERVER, modelUri: '{uri}'}}"


def container(uri: str, name: str = "MODEL_URI", image: str = "acme/a:1") -> str:
    env = f"env: [{{name: {name}, value: '{uri}'}}]"
    return f"graph: {{name: c}}, componentSpecs: [{{spec: {{containers: [{{name: c, image: '{image}', {env}}}]}}}}]"


def fetched(uri: str) -> str:
    first = f"initContainers: [{{name: f, image: 'acme/f:1', args: ['{uri}', /mnt]}}]"
    return f"graph: {{name: c}}, componentSpecs: [{{spec: {{{first}, containers: [{{name: c, image: 'acme/a:1'}}]}}}}]"


@pytest.mark.parametrize(
    ("production", "shadow", "same"),
    [
        (server("s3://m/1"), server("s3://m/1/"), True),
        (server("s3://m/1"), server("s3://m/2"), False),
        (container("s3://m/1"), container("s3://m/1"), True),
        (container("s3://m/1", "STORAGE_URI"), container("s3://m/1", "STORAGE_URI"), True),
        (container("s3://m/1"), container("s3://m/2"), False),
        (container("s3://m/1"), container("s3://m/1", image="acme/a:2"), False),
        (container("s3://m/1", "DATA"), container("s3://m/1", "DATA"), False),
        (fetched("s3://m/1"), fetched("s3://m/1"), True),
        (fetched("s3://m/1"), fetched("s3://m/2"), False),
    ],
)
def test_a_shadow_of_the_same_model_is_found_wherever_the_model_is_named(
    production: str, shadow: str, same: bool
) -> None:
    assert found("DL411", s=predictors(production, shadow)) == ([("DL411", 7)] if same else [])


def trigger(rest: str, kind: str = "apiVersion: v1, kind: Service") -> str:
    return (
        "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: t}\nspec:\n  broker: default\n"
        f"  subscriber: {{ref: {{{kind}, name: watcher}}}}\n{rest}"
    )


def behind(image: str) -> str:
    return (
        "apiVersion: v1\nkind: Service\nmetadata: {name: watcher}\nspec: {selector: {app: w}, ports: [{port: 80}]}\n"
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: pods-of-it}\nspec:\n"
        "  selector: {matchLabels: {app: w}}\n  template:\n    metadata: {labels: {app: w}}\n"
        f"    spec: {{containers: [{{name: c, image: '{image}'}}]}}\n"
    )


def test_a_detector_without_a_filter_is_found_by_what_runs_behind_its_service() -> None:
    drift = behind("acme/drift:1")
    assert found("DL213", t=trigger(""), s=drift) == [("DL213", 3)]
    assert found("DL213", t=trigger(""), s=behind("acme/display:1")) == []
    # an empty text is any
    assert found("DL213", t=trigger("  filter: {attributes: {type: ''}}\n"), s=drift) == [
        ("DL213", 7)
    ]
    assert found("DL213", t=trigger("  filter: {attributes: {type: a}}\n"), s=drift) == []
    assert found("DL213", t=trigger("  filters: [{exact: {type: a}}]\n"), s=drift) == []
    service = (
        "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: watcher}\n"
        "spec: {template: {spec: {containers: [{image: 'acme/drift:1'}]}}}\n"
    )
    served = trigger("", "apiVersion: serving.knative.dev/v1, kind: Service")
    assert found("DL213", t=served, s=service) == [("DL213", 3)]


def test_doors_for_everybody_are_found_however_they_are_written() -> None:
    gateway = (
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec:\n"
        "  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [HOST]}]\n"
    )
    for host in ("'*'", "'*/*'", "./*", "shop/*"):
        assert found("DL803", g=gateway.replace("HOST", host)) == [("DL803", 5)]
    assert found("DL803", g=gateway.replace("HOST", "shop/*.example.org")) == []
    route = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec:\n  hosts: ['*']\n"
        "  gateways: [g]\n  http: [{MATCH, route: [{destination: {host: a}}]}]\n"
    )
    for match, is_open in (
        ("name: all", True),
        ("match: [{uri: {prefix: /}}]", True),
        ("match: [{uri: {prefix: /a}}, {uri: {prefix: /}}]", True),
        ("match: [{uri: {prefix: /}, headers: {a: {exact: b}}}]", False),
        ("match: [{uri: {prefix: /a}}]", False),
    ):
        assert found("DL803", v=route.replace("MATCH", match)) == (
            [("DL803", 5)] if is_open else []
        )


def test_a_gateway_is_found_by_its_older_names() -> None:
    gateway = (
        NAMESPACE
        + "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g, namespace: shop}\n"
    )
    route = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\n"
        "spec: {hosts: [a.example.org], gateways: [NAME]}\n"
    )
    for name in ("g", "shop/g", "g.shop", "g.shop.svc.cluster.local", "g.elsewhere"):
        assert found("DL505", g=gateway, v=route.replace("NAME", name)) == []
    for name in ("h", "shop/h", "h.shop", "h.shop.svc.cluster.local"):
        assert found("DL505", g=gateway, v=route.replace("NAME", name)) == [("DL505", 4)]


TOKENS = """\
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate
metadata: {name: w, namespace: shop, labels: {app.kubernetes.io/managed-by: OWNER}}
spec:
  entrypoint: a
  serviceAccountName: w
GENERAL
  templates:
  - name: a
    container: {image: 'acme/a:1', command: [PROGRAM]}
    MORE
"""


@pytest.mark.parametrize(
    ("general", "own", "program", "found_it"),
    [
        ("true", "", "python", True),
        ("", "", "python", True),
        ("false", "", "python", False),
        ("false", "automountServiceAccountToken: true", "python", True),
        ("true", "automountServiceAccountToken: false", "python", False),
        # a text is none of the two
        ("'false'", "", "python", True),
        ("true", "", "driftloop", False),
        ("true", "", "driftloop-train", True),
        # a person's server beside a step of ours shares the pod, and its token
        ("true", "sidecars: [{name: s, image: 'acme/s:1'}]", "driftloop", True),
        ("true", "sidecars: []", "driftloop", False),
    ],
)
def test_a_token_is_found_beside_a_person_s_code_only(
    general: str, own: str, program: str, found_it: bool
) -> None:
    line = f"  automountServiceAccountToken: {general}" if general else "  parallelism: 1"
    text = TOKENS.replace("GENERAL", line).replace("MORE", own or "daemon: false")
    text = text.replace("PROGRAM", program)
    assert found("DL804", w=text.replace("OWNER", "driftloop")) == [("DL804", 9)] * found_it
    # nobody knows which steps of other people's workflows need one
    assert found("DL804", w=text.replace("OWNER", "helm")) == []
    steps = text.replace("container: {", "suspend: {}\n    # {").replace("OWNER", "driftloop")
    assert found("DL804", w=steps) == []


GENERATED = "secretGenerator:\n- name: s\n  literals:\n  - 'password=VALUE'\n"


def test_plain_secrets_are_found_in_kustomizations_and_references_are_none() -> None:
    assert found("DL801", kustomization=KUSTOMIZATION + GENERATED) == [("DL801", 6)]
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: 'VALUE'}\n"
    assert found("DL801", s=secret) == [("DL801", 4)]
    for value in (
        "op://vault/item/field",
        "ref+vault://a#b",
        "${PASSWORD}",
        "{{ password }}",
        "<path:a/b#c>",
    ):
        assert found("DL801", s=secret.replace("VALUE", value)) == []
        assert found("DL801", kustomization=KUSTOMIZATION + GENERATED.replace("VALUE", value)) == []
    assert (
        found(
            "DL801", kustomization=KUSTOMIZATION + GENERATED.replace("password=VALUE", "password=")
        )
        == []
    )


DEPLOYMENT = (
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  selector: {matchLabels: {app: d}}\n"
    "  template:\n    metadata: {labels: {app: d}}\n    spec: {containers: [{name: c, image: 'acme/a:1'}]}\n"
)
PATCH = (
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  template:\n    spec:\n      containers:\n"
    "      - name: c\n        image: acme/a:2\n        env: [{name: A, value: 1}]\n"
    "        ports: [{name: https, containerPort: 8443}]\n"
    "        volumeMounts: [{name: v, mountPath: /v}]\n"
)
SERVICE = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: d}\n"
    "spec: {selector: {app: d}, ports: [{port: 443, targetPort: https}]}\n"
)


@pytest.mark.parametrize(
    "patches", ["patches: [{path: p.yaml}]\n", "patchesStrategicMerge: [p.yaml]\n"]
)
def test_a_patch_is_a_part_of_an_object(patches: str) -> None:
    base = {
        "base__kustomization": KUSTOMIZATION + "resources: [d.yaml, s.yaml]\n",
        "base__d": DEPLOYMENT,
    }
    over = {
        "over__kustomization": KUSTOMIZATION + "resources: [../base]\n" + patches,
        "over__p": PATCH,
    }
    # what is written in it must be right, what is not there may be elsewhere
    assert found(**base, base__s=SERVICE, **over) == [("DL102", 10)]
    assert found(**base, base__s=SERVICE) == [("DL512", 4)]


def test_a_secret_may_be_made_by_who_may_make_secrets() -> None:
    pod = (
        NAMESPACE
        + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: other, namespace: shop}\n---\n"
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop}\n"
        "spec: {containers: [{name: c, image: 'acme/a:1'}], volumes: [{name: v, secret: {secretName: members}}]}\n"
    )
    role = (
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: r, namespace: shop}\n"
        "rules: [{apiGroups: [''], resources: [secrets], verbs: [VERB]}]\n"
    )
    assert found("DL602", p=pod) == [("DL602", 12)]
    assert found("DL602", p=pod, r=role.replace("VERB", "get")) == [("DL602", 12)]
    assert found("DL602", p=pod, r=role.replace("VERB", "create")) == []


def test_a_port_that_is_no_number_ends_in_no_traceback() -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\nspec: {ports: [{port: [1]}]}\n"
    caller = DEPLOYMENT.replace(
        "'acme/a:1'", "'acme/a:1', args: ['http://a.shop.svc.cluster.local/']"
    )
    route = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\n"
        "spec: {hosts: [a], http: [{route: [{destination: {host: a, port: {number: 80}}}]}]}\n"
    )
    assert found(n=NAMESPACE, s=service, d=caller, v=route) == []


def test_json_may_be_indented_with_tabs() -> None:
    text = '{\n\t"apiVersion": "v1",\n\t"kind": "ConfigMap",\n\t"metadata": {"name": "a"},\n\t"data": {"n": 3}\n}\n'
    assert found(c=text) == [("DL104", 5)]


def test_a_scheduler_s_policy_is_no_object() -> None:
    assert found(p='{"kind": "Policy", "apiVersion": "v1", "predicates": []}') == []
