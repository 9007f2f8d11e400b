"""The console behind the gateway: who gets in, what its account may read, and a rollback by it."""

import base64
import json
import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

import pytest
import yaml
from cluster.bootstrap.test_b_honesty import rollback
from cluster.bootstrap.test_b_walls import push
from cluster.kube import node_facing_address
from cluster.world import ROOT, N, P
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

HOST, AUDIENCE, ROLE = "console.cluster.test", "driftloop-console", "driftloop-operators"
SPACE = "driftloop-console"
FOLDER = "cluster/infrastructure/console"
PARTS = ("proxy", "log", "exec")


class Issuer:
    """Whose tokens count: one key, published over HTTP."""

    def __init__(self, url):
        self.url = url
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def keys(self):
        numbers = self._key.public_key().public_numbers()
        n = numbers.n.to_bytes(256, "big")
        key = {
            "kty": "RSA",
            "alg": "RS256",
            "use": "sig",
            "kid": "one",
            "n": encode(n),
            "e": "AQAB",
        }
        return {"keys": [key]}

    def sign(self, email, *groups, **changes):
        now = int(time.time())
        claims = {
            "iss": self.url, "aud": AUDIENCE, "sub": email, "email": email, "groups": list(groups),
            "iat": now, "exp": now + 3600, **changes,
        }  # fmt: skip
        head = {"alg": "RS256", "typ": "JWT", "kid": "one"}
        text = ".".join(encode(json.dumps(part).encode()) for part in (head, claims))
        signed = self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{encode(signed)}"


def encode(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@contextmanager
def issuing():
    """An issuer that the cluster reaches."""

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(issuer.keys).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("", 0), Keys)
    issuer = Issuer(f"http://{node_facing_address()}:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def issuer():
    with issuing() as made:
        yield made


class Stay(HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None


def ask(it, path, token=None, *, data=None, **headers):
    """Status, text and place of an answer through the gateway."""
    address = it.kube.address("istio-system", "istio-ingressgateway", 80)
    given = {"Host": HOST, **({"x-driftloop-login": token} if token else {}), **headers}
    body = urlencode(data).encode() if data is not None else None
    request = Request(f"http://{address}{path}", body, given)
    try:
        with build_opener(Stay).open(request, timeout=60) as answer:
            return answer.status, answer.read().decode(), None
    except HTTPError as error:
        return error.code, error.read().decode(), error.headers.get("Location")


def may(it, verb, what, namespace):
    account = f"system:serviceaccount:{SPACE}:console"
    subject, _, part = what.partition("/") if what.split("/")[-1] in PARTS else (what, "", "")
    options = (f"--subresource={part}",) if part else ()
    said = it.kube.run(
        "auth", "can-i", verb, subject, *options, "-n", namespace, f"--as={account}", check=False
    )
    return said.strip().endswith("yes")


def turn_on(it, issuer):
    """What the guide says, by one commit: settings, a sealed credential of git, and the stage."""
    folder = ROOT / FOLDER
    settings = yaml.safe_load((folder / "settings.yaml").read_text())
    settings["data"] |= {
        "host": HOST, "issuer": issuer.url, "keys": f"{issuer.url}/keys", "audience": AUDIENCE, "role": ROLE,
    }  # fmt: skip
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "console-git", "namespace": SPACE},
        "stringData": {
            "git-url": it.url,
            "git-username": "bot",
            "git-password": it.passwords["bot"],
        },
    }
    certificate = it.folder / "cluster.pem"
    certificate.write_text(it.certificate())
    sealed = it.driftloop("seal", "--cert", certificate, stdin=yaml.safe_dump(secret))
    text = (folder / "kustomization.yaml").read_text()
    for known, wanted in (
        ("  - settings.yaml\n", "  - settings.yaml\n  - console-git.sealedsecret.yaml\n"),
        ("components: [../versions]", "components: [../versions, acting]"),
    ):
        assert text.count(known) == 1
        text = text.replace(known, wanted)
    push(
        it,
        {
            f"{FOLDER}/settings.yaml": yaml.safe_dump(settings),
            f"{FOLDER}/console-git.sealedsecret.yaml": sealed,
            f"{FOLDER}/kustomization.yaml": text,
            "cluster/dev/console.yaml": (ROOT / "cluster/optional/console.yaml").read_text(),
        },
    )


def test_the_console_starts_and_reads_with_rights_of_its_own(it, issuer):
    turn_on(it, issuer)
    it.fetched()
    it.kube.wait(
        "the console's stage is ready",
        lambda: it.kube.ready("kustomization", "console"),
        timeout=300,
        every=2,
    )
    (pod,) = it.kube.get("pod", namespace=SPACE)
    assert all(each["ready"] for each in pod["status"]["containerStatuses"])
    for verb, what in (
        ("list", "pods"),
        ("get", "services/proxy"),
        ("list", "workflows.argoproj.io"),
        ("get", "virtualservices.networking.istio.io"),
        ("get", "secret/driftloop-platform"),
    ):
        assert may(it, verb, what, N), (verb, what)
    refused = [
        ("list", "secrets", N), ("get", "secret/driftloop-git", N), ("get", "secret/driftloop-signing", N),
        ("get", "secret/driftloop-platform", "storage"), ("list", "pods", "kube-system"), ("get", "pods/log", N),
        ("create", "pods/exec", N), ("create", "workflows.argoproj.io", N), ("patch", "deployments.apps", N),
        ("delete", "pods", N), ("get", "services/proxy", "argo"), ("get", "secret/console-git", SPACE),
        ("patch", "kustomizations.kustomize.toolkit.fluxcd.io", "flux-system"),
    ]  # fmt: skip
    for verb, what, namespace in refused:
        assert not may(it, verb, what, namespace), (verb, what, namespace)
    it.say(f"the console is ready; its account may not do {len(refused)} other things")


def test_the_gateway_lets_in_who_has_a_token(it, issuer):
    reader = issuer.sign("rita@cluster.test")
    it.kube.wait("the gateway knows the issuer", lambda: ask(it, "/", reader)[0] == 200, every=2)
    it.kube.wait(
        "the console has looked",
        lambda: "not read yet" not in ask(it, "/", reader)[1],
        timeout=60,
        every=2,
    )
    page = ask(it, "/", reader)[1]
    assert f"/pipelines/{P}" in page
    trouble = re.findall(r'role="alert">(.*?)</p>', page, re.S)
    it.say(f"the overview, {len(page)} bytes; troubles: {trouble}")
    assert not trouble
    releases = ask(it, f"/pipelines/{P}/releases", reader)[1]
    assert it.release()["production"]["id"] in releases
    other = Issuer(issuer.url)
    seen = {
        "no token": ask(it, "/")[0],
        "a name without a token": ask(it, "/", **{"x-driftloop-user": "eve"})[0],
        "another key": ask(it, "/", other.sign("eve@cluster.test"))[0],
        "an old token": ask(it, "/", issuer.sign("rita@cluster.test", exp=1))[0],
        "another audience": ask(it, "/", issuer.sign("rita@cluster.test", aud="other"))[0],
        "a prediction's path": ask(it, f"/seldon/../pipelines/{P}")[0],
        "a form without the role": ask(it, f"/pipelines/{P}/act/rollback", reader, data={})[0],
    }
    it.say(f"refused at the gateway: {seen}")
    assert all(status in (401, 403, 404) for status in seen.values()), seen


def test_a_rollback_by_it_is_the_commit_of_the_command_line(it, issuer):
    first = it.known("first")
    second = it.known("second") or it.release()["production"]["id"]
    token = issuer.sign("olga@cluster.test", ROLE)
    target, other = (
        (second, first) if it.release()["production"]["id"] == first else (first, second)
    )
    tip = it.tip()
    path = f"/pipelines/{P}/act/rollback"
    it.kube.wait("the gateway lets her in", lambda: ask(it, path, token)[0] == 200, every=2)
    page = ask(it, path, token)[1]
    form = re.search(r'name="token" value="([^"]+)"', page)[1]
    status, text, place = ask(it, path, token, data={"token": form, "to": target})
    assert status == 303, text

    def ended():
        text = ask(it, place, token)[1]
        return text if "Done." in text or "It was refused" in text else None

    text = it.kube.wait("the command ends", ended, timeout=120, every=2)
    assert "Done." in text, re.sub(r"<[^>]+>", " ", text)
    assert it.release()["production"]["id"] == target
    ours = it.git("log", "-1", "--format=%s%n%an%n%ae%n%(trailers)", f"{tip}..main")
    it.say(f"by the console: {' | '.join(filter(None, ours.splitlines()))}")
    done = rollback(it, "--to", other)
    assert done.returncode == 0, done.stderr
    theirs = it.git("log", "-1", "--format=%s%n%an%n%ae%n%(trailers)", "main")
    it.say(f"by the command line: {' | '.join(filter(None, theirs.splitlines()))}")
    ours, theirs = ours.splitlines(), theirs.splitlines()
    assert ours[0] == theirs[0].replace(other, target)
    assert ours[1:3] == ["olga", "olga@cluster.test"]
    keys = [[line.partition(":")[0] for line in lines[3:] if line] for lines in (ours, theirs)]
    assert keys[0] == keys[1]
    if target == second:
        # what follows finds the promotion as it was
        assert rollback(it, "--to", second).returncode == 0
