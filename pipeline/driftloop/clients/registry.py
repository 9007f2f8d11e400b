"""Image registries, by the OCI distribution API: which digest a tag stands for. Nothing is
pulled.

An image for several platforms has one index; its digest is the one that nodes of every platform
pull by.
"""

import asyncio
import hashlib
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from driftloop.clients import cancellation
from driftloop.clients.docker_config import HUB, DockerConfig, RegistryLogin
from driftloop.errors import RegistryError

Say = Callable[[str], None]

ACCEPTED = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
LARGEST = 4 * 1024 * 1024
"""Bytes of a manifest; registries take no larger ones."""
LARGEST_TOKEN = 256 * 1024
SECONDS = 20.0
"""For one request."""
LONGEST = 60.0
"""For all requests that one image takes."""
TOGETHER = 4
"""Images asked for at the same time."""
PAUSES = (1.0, 3.0)
"""Seconds before each next try, after an answer that may be another one soon."""
REDIRECTS = 5


@dataclass(frozen=True)
class ImageReference:
    """A ref taken apart as container runtimes do it."""

    text: str
    registry: str
    """Host, with a port where the ref has one; `docker.io` when it names none."""
    repository: str
    tag: str

    @classmethod
    def parse_text(cls, ref: str) -> "ImageReference":
        """`python:3.11` is `library/python` of docker.io."""
        first, slash, rest = ref.partition("/")
        named = bool(slash) and ("." in first or ":" in first or first == "localhost")
        registry, path = (first, rest) if named else (HUB, ref)
        repository, _, tag = path.rpartition(":")
        registry = HUB if registry in ("index.docker.io", "registry-1.docker.io") else registry
        if registry == HUB and "/" not in repository:
            repository = f"library/{repository}"
        return cls(ref, registry, repository, tag)


@dataclass(frozen=True)
class RegistryClient:
    """Token server, and the credentials for it."""

    config: DockerConfig = field(default_factory=DockerConfig)
    mirrors: Mapping[str, str] = field(default_factory=dict)
    """Registry to the URL that is asked instead, as nodes with a mirror do."""

    def read_digests(self, refs: Iterable[str], *, say: Say) -> dict[str, str]:
        """Ref to digest, in the order of the refs. RegistryError names every image that can't be
        had, and why."""
        return cancellation.run(
            self._read_all([ImageReference.parse_text(ref) for ref in refs], say)
        )

    async def _read_all(self, references: list[ImageReference], say: Say) -> dict[str, str]:
        hosts = ", ".join(dict.fromkeys(self._find_host(reference) for reference in references))
        say(f"asking {hosts} for the digests of {len(references)} images")
        few = asyncio.Semaphore(TOGETHER)
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        # manifests are hashed as they are
        headers = {"Accept-Encoding": "identity", "User-Agent": "driftloop"}
        # `trust_env` would not only read the proxies: also .netrc, and send that to whoever is asked
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:

            async def read_one(reference: ImageReference) -> str | RegistryError:
                async with few:
                    try:
                        async with asyncio.timeout(LONGEST):
                            digest = await self._read_digest(session, reference)
                    except TimeoutError as error:
                        return self._build_unreachable(reference, error)
                    except RegistryError as error:
                        return error
                say(f"  {reference.text} is {digest}")
                return digest

            digests = await asyncio.gather(*map(read_one, references))
        results = list(zip(references, digests, strict=True))
        failed = [
            (reference, result)
            for reference, result in results
            if isinstance(result, RegistryError)
        ]
        if failed:
            lines = "\n".join(
                f"image `{reference.text}`: {error.message}" for reference, error in failed
            )
            hints = dict.fromkeys(error.hint for _, error in failed if error.hint is not None)
            raise RegistryError(lines, hint="\nhint: ".join(hints) or None)
        return {reference.text: str(result) for reference, result in results}

    def _find_base(self, reference: ImageReference) -> URL:
        host = "registry-1.docker.io" if reference.registry == HUB else reference.registry
        scheme = "http" if _is_local(host.partition(":")[0]) else "https"
        text = self.mirrors.get(reference.registry, f"{scheme}://{host}").rstrip("/")
        url = _build_url(text)
        if url is None:
            raise RegistryError(f"`{text}` is not a registry's URL")
        return url

    def _find_host(self, reference: ImageReference) -> str:
        return (
            _name_image(self._find_base(reference))
            if reference.registry in self.mirrors
            else reference.registry
        )

    async def _read_digest(self, session: aiohttp.ClientSession, reference: ImageReference) -> str:
        for pause in (*PAUSES, None):
            try:
                return await self._ask_once(session, reference)
            except (_AgainError, aiohttp.ClientError, TimeoutError, OSError) as error:
                if pause is None:
                    raise self._build_unreachable(reference, error) from error
                await asyncio.sleep(pause)
        raise AssertionError(PAUSES)

    def _build_unreachable(self, reference: ImageReference, error: BaseException) -> RegistryError:
        reason = "timed out" if isinstance(error, TimeoutError) else str(error)
        return RegistryError(
            f"{self._find_host(reference)} can't be reached: {reason or type(error).__name__}",
            hint="check the network and HTTPS_PROXY, or name a mirror with `--mirror HOST=URL`",
        )

    async def _ask_once(self, session: aiohttp.ClientSession, reference: ImageReference) -> str:
        path = f"v2/{reference.repository}/manifests/{reference.tag}"
        url = self._find_base(reference).joinpath(*path.split("/"))
        answer = await _send_request(session, "HEAD", url, None)
        authorization, login = None, None
        if answer.status == 401:
            # a registry may send elsewhere, and a header would not follow
            url = answer.url
            own = _name_image(url) == _name_image(self._find_base(reference))
            registry = self._find_host(reference) if own else _name_image(url)
            login = await asyncio.to_thread(self.config.find_login, registry)
            if login is not None and url.scheme == "http" and not _is_local(url.host):
                raise RegistryError(
                    f"{registry} requires a login, which is not sent over plain HTTP",
                    hint="set up TLS on the registry, or use an https:// URL for its mirror",
                )
            authorization = await _authorize_request(session, answer, reference, login, registry)
            answer = await _send_request(session, "HEAD", url, authorization)
        if answer.status != 405:
            _check_answer(answer, reference, self._find_host(reference), known=login is not None)
        digest = answer.headers.get("Docker-Content-Digest", "")
        if answer.status == 200 and digest:
            _check_kind(answer, self._find_host(reference))
        else:
            # a registry that knows no HEAD, or does not say
            answer = await _send_request(session, "GET", url, authorization)
            _check_answer(answer, reference, self._find_host(reference), known=login is not None)
            _check_kind(answer, self._find_host(reference))
            digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise RegistryError(
                f"{self._find_host(reference)} answered the digest `{digest[:100]}`, which is not a sha256 digest"
            )
        return digest


class _AgainError(Exception):
    """An answer that may be another one soon."""


@dataclass(frozen=True)
class _RegistryAnswer:
    status: int
    url: URL
    headers: CIMultiDictProxy[str]
    body: bytes = field(repr=False)

    def parse_json(self) -> dict[str, Any]:
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}


async def _send_request(
    session: aiohttp.ClientSession, method: str, url: URL, authorization: str | None, *, accept: bool = True,
    largest: int = LARGEST, data: Mapping[str, str] | None = None,
) -> _RegistryAnswer:  # fmt: skip
    headers = {"Accept": ", ".join(ACCEPTED)} if accept else {}
    if authorization is not None:
        headers["Authorization"] = authorization
    for _ in range(REDIRECTS + 1):
        proxy = None if proxy_bypass(_name_image(url)) else getproxies().get(url.scheme)
        async with session.request(
            method, url, headers=headers, data=data, allow_redirects=False, proxy=proxy
        ) as answer:
            place = answer.headers.get("Location")
            if answer.status in (301, 302, 303, 307, 308) and place is not None:
                there = _sent_on(url, place, secret=data is not None)
                if there.origin() != url.origin():
                    headers.pop("Authorization", None)
                url = there
                continue
            if answer.status == 429 or answer.status >= 500:
                raise _AgainError(f"the registry answered {answer.status} {answer.reason}")
            body = b""
            while chunk := await answer.content.read(largest + 1 - len(body)):
                body += chunk
            if len(body) > largest:
                raise RegistryError(f"{url.host} answered with more than {largest} bytes")
            return _RegistryAnswer(answer.status, url, answer.headers, body)
    raise RegistryError(f"{url.host} redirects more than {REDIRECTS} times")


def _sent_on(url: URL, place: str, *, secret: bool) -> URL:
    """Return the address that a redirect leads to, unless that is nowhere to go to."""
    if secret:
        raise RegistryError(f"{url.host} redirects a request with a login, which is not followed")
    relative = _build_url(place, relative=True)
    there = None if relative is None else _build_url(str(url.join(relative)))
    if there is None:
        raise RegistryError(f"{url.host} redirects to `{place[:100]}`, which is not a URL")
    if url.scheme == "https" and there.scheme != "https":
        raise RegistryError(f"{url.host} redirects to {there.host} without TLS")
    return there


async def _authorize_request(
    session: aiohttp.ClientSession,
    answer: _RegistryAnswer,
    reference: ImageReference,
    login: RegistryLogin | None,
    registry: str,
) -> str:
    """The `Authorization` that a challenge asks for."""
    challenges = _parse_challenges(answer.headers.getall("WWW-Authenticate", []))
    if (wanted := challenges.get("bearer")) is not None:
        token = await _fetch_token(
            session, wanted, asked=answer.url, reference=reference, login=login, registry=registry
        )
        return f"Bearer {token}"
    if "basic" in challenges and login is not None and not login.identity:
        return login.encode_basic
    raise _build_login_error(registry, reference, known=login is not None)


_CHALLENGE = re.compile(
    r"""(?P<scheme>[A-Za-z][\w-]*)(?:\s+(?=[\w-]+\s*=)|\s*(?:,|$))"""
    r"""|(?P<name>[\w-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s,"]+))"""
)


def _parse_challenges(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """Scheme to what it says, in lower case; one header may hold several."""
    challenges: dict[str, dict[str, str]] = {}
    for text in texts:
        values: dict[str, str] = {}
        # bytes that are no UTF-8 arrive as halves of surrogate pairs
        for match in _CHALLENGE.finditer(
            text.encode(errors="surrogateescape").decode(errors="replace")
        ):
            if match["scheme"]:
                values = challenges.setdefault(match["scheme"].lower(), {})
            else:
                values[match["name"].lower()] = match["bare"] or re.sub(
                    r"\\(.)", r"\1", match["quoted"]
                )
    return challenges


async def _fetch_token(
    session: aiohttp.ClientSession,
    wanted: Mapping[str, str],
    *,
    asked: URL,
    reference: ImageReference,
    login: RegistryLogin | None,
    registry: str,
) -> str:
    realm = _build_url(wanted.get("realm", ""))
    if realm is None or (
        realm.scheme != "https" and not (_is_local(realm.host) and _is_local(asked.host))
    ):
        raise RegistryError(
            f"{registry} requires a token from `{wanted.get('realm', '')[:100]}`, which must be https"
        )
    scope = wanted.get("scope") or f"repository:{reference.repository}:pull"
    query = {"service": wanted["service"]} if wanted.get("service") else {}
    if login is not None and login.identity:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": login.password,
            "client_id": "driftloop",
        }
        answer = await _send_request(
            session,
            "POST",
            realm,
            None,
            accept=False,
            largest=LARGEST_TOKEN,
            data={**form, **query, "scope": scope},
        )
    else:
        url = realm.update_query({**query, "scope": scope})
        basic = login.encode_basic if login is not None else None
        answer = await _send_request(
            session, "GET", url, basic, accept=False, largest=LARGEST_TOKEN
        )
    if answer.status in (400, 401, 403, 404):
        raise _build_login_error(registry, reference, known=login is not None)
    document = answer.parse_json()
    token = document.get("token") or document.get("access_token")
    if (
        answer.status != 200
        or not isinstance(token, str)
        or not re.fullmatch(r"[\x21-\x7e]+", token)
    ):
        raise RegistryError(f"{realm.host} answered {answer.status} without a token for {registry}")
    return token


def _check_answer(
    answer: _RegistryAnswer, reference: ImageReference, host: str, *, known: bool
) -> None:
    """RegistryError for an answer that is not a manifest."""
    if answer.status in (401, 403):
        raise _build_login_error(host, reference, known=known)
    if answer.status == 404:
        raise RegistryError(
            f"{host} has no tag `{reference.tag}` of `{reference.repository}`",
            hint="push the image first: `--pin` reads the digest from the registry",
        )
    if answer.status != 200:
        raise RegistryError(f"{host} answered {answer.status}")


def _build_login_error(host: str, reference: ImageReference, *, known: bool) -> RegistryError:
    """Most registries answer so for what does not exist, too."""
    who = "with the login from Docker's config.json" if known else "without a login"
    return RegistryError(
        f"{host} does not show `{reference.repository}` {who}",
        hint=f"check that it exists; if it is private, `docker login {host}` with an account that may pull it",
    )


def _check_kind(answer: _RegistryAnswer, host: str) -> None:
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
    if kind not in ACCEPTED:
        raise RegistryError(
            f"{host} answered `{kind[:100]}`, which is not a supported image manifest",
            hint="push the image again with a current builder",
        )


def _build_url(text: str, *, relative: bool = False) -> URL | None:
    """An address of the web, without the login that it may hold; None for anything else."""
    try:
        url = URL(text)
        if relative:
            return url
        return url.with_user(None) if url.scheme in ("http", "https") and url.host else None
    except ValueError:
        return None


def _name_image(url: URL) -> str:
    """A URL's host as refs and logins name it."""
    return str(url.host) if url.explicit_port is None else f"{url.host}:{url.explicit_port}"


def _is_local(host: str | None) -> bool:
    if host is None:
        return False
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
