"""The console's tree below cluster/infrastructure: valid, closed by default, and with the rights for what it reads and no others."""

import re
import subprocess

import pytest
import yaml

from driftloop import __version__
from driftloop.cluster import status
from driftloop.cluster.reader import ForbiddenError
from driftloop.console.login import USER_HEADER
from driftloop.contract.names import Names
from tests.cluster.test_status import NOW, WHY, Answers, cluster
from tests.cluster.test_tree import (
    CLUSTER,
    INFRASTRUCTURE,
    VALIDATOR,
    build,
    documents,
    needs_kubectl,
)

FOLDER = INFRASTRUCTURE / "console"
ACCOUNT = "console"
_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/(?P<space>[^/]+))?/(?P<resource>[a-z]+)"
    r"(?:/(?P<name>[^/?]+))?(?:/(?P<sub>proxy))?"
)


@pytest.fixture(scope="module")
def reading():
    return build(FOLDER)


@pytest.fixture(scope="module")
def acting(tmp_path_factory):
    """The tree of somebody who lets people act."""
    return build_with(tmp_path_factory.mktemp("acting"), "acting")


@pytest.fixture(scope="module")
def login(tmp_path_factory):
    """The tree of somebody who has no login proxy of their own."""
    return build_with(tmp_path_factory.mktemp("login"), "login, acting")


def build_with(root, components):
    for path in (FOLDER, INFRASTRUCTURE / "versions"):
        subprocess.run(["cp", "-r", path, root], check=True)
    file = root / "console" / "kustomization.yaml"
    text = file.read_text()
    assert text.count("components: [../versions]") == 1
    file.write_text(
        text.replace("components: [../versions]", "components: [../versions, COMPONENTS]").replace(
            "COMPONENTS", components
        )
    )
    return build(root / "console")


def named(built, kind, name="console"):
    (found,) = (d for d in built if d["kind"] == kind and d["metadata"]["name"] == name)
    return found


class Rights:
    """What the console's account may do, by the Roles that are bound to it."""

    def __init__(self, built):
        roles = {
            (d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]): d["rules"]
            for d in built
            if d["kind"] in ("Role", "ClusterRole")
        }
        self.rules = []
        for d in built:
            if d["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
                continue
            assert [each["name"] for each in d["subjects"]] == [ACCOUNT]
            space, ref = d["metadata"].get("namespace"), d["roleRef"]
            key = (ref["kind"], space if ref["kind"] == "Role" else None, ref["name"])
            self.rules += [(space, rule) for rule in roles[key]]

    def allow(self, verb, group, resource, space, name):
        return any(
            (own is None or own == space)
            and verb in rule["verbs"]
            and group in rule["apiGroups"]
            and resource in rule["resources"]
            and ("resourceNames" not in rule or name in rule["resourceNames"])
            for own, rule in self.rules
        )

    def allow_get(self, path):
        found = _PATH.match(path)
        assert found, path
        resource = found["resource"] + (f"/{found['sub']}" if found["sub"] else "")
        verb = "get" if found["name"] else "list"
        return self.allow(verb, found["group"] or "", resource, found["space"], found["name"])


class Guarded(Answers):
    """A cluster that answers what these rights allow."""

    def __init__(self, paths, rights):
        super().__init__(paths)
        self.rights, self.refused = rights, []

    def text(self, path):
        if path == "/version" or self.rights.allow_get(path):
            return super().text(path)
        self.refused.append(path)
        raise ForbiddenError(f"{path}: Forbidden")


@needs_kubectl
@pytest.mark.parametrize(
    ("golden", "name"), [("digits-released", "digits"), ("plain-shadow", "mirror")]
)
def test_all_that_pages_read_is_allowed(reading, golden, name):
    pipeline = golden.removesuffix("-released")
    service = f"/api/v1/namespaces/{name}/services/{pipeline}-decision:8080"
    paths = cluster(golden, **{f"{service}/proxy/why": WHY})
    text = yaml.safe_dump_all(reading).replace("namespace: digits\n", f"namespace: {name}\n")
    reader = Guarded(paths, Rights(documents(text)))
    assert status.overview(reader, where="here", now=NOW)["releases"]
    status.explain_loop(reader, Names(pipeline, name))
    assert reader.refused == []


@needs_kubectl
def test_nothing_else_is(reading, acting):
    for built, settings in ((reading, False), (acting, True)):
        rights = Rights(built)
        for _, rule in rights.rules:
            assert set(rule["verbs"]) <= {"get", "list"}
            assert "*" not in (*rule["apiGroups"], *rule["resources"])
        for space in ("digits", "flux-system", "kube-system", "driftloop-console"):
            for kind in ("secrets", "configmaps"):
                own = settings and space == "digits"
                assert rights.allow("get", "", kind, space, "driftloop-platform") is own
                assert not rights.allow("get", "", kind, space, "driftloop-git")
                assert not rights.allow("list", "", kind, space, None)
            if space != "digits":
                assert not rights.allow("list", "", "pods", space, None)
                assert not rights.allow("get", "", "services/proxy", space, "any")
            for resource in ("pods/log", "pods/exec", "pods/portforward"):
                assert not any(
                    rights.allow(verb, "", resource, space, "any")
                    for verb in ("get", "create", "list")
                )


@needs_kubectl
@pytest.mark.skipif(not VALIDATOR.exists(), reason="the schema validator is not on this machine")
def test_all_trees_are_valid(reading, acting, login, tmp_path):
    for name, built in (("reading", reading), ("acting", acting), ("login", login)):
        assert "see-" not in yaml.safe_dump_all(built)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(built))
    result = subprocess.run([VALIDATOR, tmp_path], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_kubectl
def test_the_pod_is_restricted_and_runs_this_version(reading, acting):
    for built in (reading, acting):
        spec = named(built, "Deployment")["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        assert container["image"] == f"ghcr.io/driftloop/driftloop:{__version__}"
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        space = named(built, "Namespace", "driftloop-console")
        assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    arguments = [
        named(built, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
        for built in (reading, acting)
    ]
    assert arguments[1] == [*arguments[0], "--repository", "$(DRIFTLOOP_GIT_URL)"]


@needs_kubectl
def test_the_gateway_alone_reaches_it_and_lets_in_who_has_a_token(reading):
    ingress = named(reading, "NetworkPolicy")["spec"]["ingress"]
    assert [peer["podSelector"]["matchLabels"] for rule in ingress for peer in rule["from"]] == [
        {"istio": "ingressgateway"}
    ]
    login = named(reading, "RequestAuthentication")["spec"]
    (rule,) = login["jwtRules"]
    assert rule["outputClaimToHeaders"] == [{"header": USER_HEADER, "claim": "email"}]
    assert rule["fromHeaders"] != [{"name": "Authorization"}], "models may have tokens of their own"
    for allowed in named(reading, "AuthorizationPolicy")["spec"]["rules"]:
        assert allowed["from"] == [{"source": {"requestPrincipals": [f"{rule['issuer']}/*"]}}]
        methods = set(allowed["to"][0]["operation"]["methods"])
        keys = {each["key"] for each in allowed["when"]}
        assert ("request.auth.claims[groups]" in keys) is (methods == {"POST"})


@needs_kubectl
def test_what_passes_the_gateway_without_a_token_is_answered_by_it(reading):
    """A prediction's path under the console's host name brings no name that the gateway has verified."""
    text = (INFRASTRUCTURE / "configs" / "predictions-only.authorizationpolicy.yaml").read_text()
    (policy,) = documents(text)
    (rule,) = policy["spec"]["rules"]
    open_paths = {path.rstrip("*") for path in rule["to"][0]["operation"]["paths"]}
    closed, *_ = named(reading, "VirtualService")["spec"]["http"]
    assert closed["directResponse"] == {"status": 404}
    assert {match["uri"]["prefix"] for match in closed["match"]} == open_paths


@needs_kubectl
def test_the_login_has_what_settings_say_and_no_secret_in_the_tree(login):
    config = yaml.safe_load(named(login, "ConfigMap", "login")["data"]["login.yaml"])
    (provider,) = config["providers"]
    settings = yaml.safe_load((FOLDER / "settings.yaml").read_text())["data"]
    assert provider["clientID"] == settings["audience"]
    assert provider["oidcConfig"]["issuerURL"] == settings["issuer"]
    assert provider["scope"] == settings["scope"]
    assert "clientSecret" not in provider
    assert [d["metadata"]["name"] for d in login if d["kind"] == "Secret"] == []
    spec = named(login, "Deployment", "login")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert f"--redirect-url=https://{settings['host']}/oauth2/callback" in container["args"]
    assert re.fullmatch(r"\S+:v7\.15\.2@sha256:[0-9a-f]{64}", container["image"])
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@needs_kubectl
def test_who_brings_no_token_reaches_the_login_and_nothing_else(login):
    """Route and policy ask for the same header, so that nobody passes the one as somebody without a
    token, and the other as somebody with one."""
    (rule,) = named(login, "RequestAuthentication")["spec"]["jwtRules"]
    (header,) = (each["name"] for each in rule["fromHeaders"])
    config = yaml.safe_load(named(login, "ConfigMap", "login")["data"]["login.yaml"])
    assert [each["name"] for each in config["injectRequestHeaders"]] == [header]
    closed, away, console = named(login, "VirtualService")["spec"]["http"]
    assert closed["directResponse"] == {"status": 404}
    assert away["match"] == [{"withoutHeaders": {header: {}}}]
    assert away["route"][0]["destination"]["host"].startswith("login.driftloop-console.")
    assert console["route"][0]["destination"]["host"].startswith("console.driftloop-console.")
    policy = named(login, "AuthorizationPolicy", "console-login")["spec"]
    (allowed,) = policy["rules"]
    assert allowed["when"] == [{"key": f"request.headers[{header}]", "notValues": ["*"]}]
    hosts = named(login, "VirtualService")["spec"]["hosts"]
    assert allowed["to"][0]["operation"]["hosts"] == [*hosts, *(f"{host}:*" for host in hosts)]


def test_it_is_off_until_it_is_copied():
    (stage,) = documents((CLUSTER / "optional" / "console.yaml").read_text())
    assert stage["spec"]["path"] == "./cluster/infrastructure/console"
    for path in CLUSTER.rglob("*.yaml"):
        if FOLDER not in path.parents and path.parent.name != "optional":
            assert "infrastructure/console" not in path.read_text(), path
