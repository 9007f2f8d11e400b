"""Access: on one machine the owner of the state folder, from this machine, with the key of this start; on
a cluster whom the gateway names (`login`).

Each request passes four questions before any page sees it: is it for us (`Host`, against DNS
rebinding), is it of this user (the kernel knows whose socket it is), has it the session's cookie,
and, when it changes something, does it come from a page of ours (`Origin`, and a token in the
form).
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from driftloop.operations.platform.console_address import ENTER, format_address

OPEN_PATHS = ("/healthz", "/assets/")
"""What needs no session: that it lives, and files that anybody can download elsewhere."""
LARGEST_BODY = 256 * 1024
"""Bytes of a form; a spec is the largest."""
METHODS = ("GET", "HEAD", "POST")
OTHER_METHOD = "GET, HEAD and POST are answered\n"
FORM_TOKEN = "token"  # noqa: S105 - the name of a field
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    # with `no-referrer` a browser says `Origin: null` of a form, as it does of one of another site
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_NAMES = ("127.0.0.1", "localhost")
_SOCKETS = Path("/proc/net/tcp")
_SOCKET = re.compile(r"\s*\d+: (\S+) (\S+) \S+ \S+ \S+ \S+\s+(\d+)")


class Access(Protocol):
    """Access to a console: of the owner of a state folder, or of people whom a login names."""

    def find_refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not let in; also to one that lets somebody in."""

    def is_own_origin(self, headers: Headers) -> bool:
        """Return True when a change was asked for by a page of ours, or by no page."""

    def derive_form_token(self, headers: Headers) -> str:
        """Return the token that the forms of a visitor carry."""

    def find_person(self, headers: Headers) -> str | None:
        """Return who asks; None for the user whose process this is."""


@dataclass(frozen=True)
class AccessKey:
    """The secret of one start, and what is made of it."""

    port: int
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def address(self) -> str:
        """The address that lets in: whoever has it is the owner."""
        return format_address(self.port, self.secret)

    @property
    def cookie(self) -> str:
        """Name of the session's cookie: browsers share cookies between the ports of a host."""
        return f"driftloop-console-{self.port}"

    def derive_token(self, purpose: str) -> str:
        """Return what proves knowledge of the secret for one purpose: `session` or `form`."""
        return hmac.new(self.secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()

    @property
    def form_token(self) -> str:
        """The token that forms carry."""
        return self.derive_token("form")

    def knows_secret(self, given: str) -> bool:
        """Return True for the key of the printed address."""
        return hmac.compare_digest(given.encode(), self.secret.encode())

    def has_session(self, headers: Headers) -> bool:
        """Return True when a request carries the session's cookie."""
        jar = SimpleCookie()
        try:
            jar.load(headers.get("cookie", ""))
        except CookieError:
            return False
        given = jar[self.cookie].value if self.cookie in jar else ""
        return hmac.compare_digest(given.encode(), self.derive_token("session").encode())

    def is_own_host(self, host: str) -> bool:
        """Return True for the Host header of a request that is for us."""
        return host.lower() in {f"{name}:{self.port}" for name in _NAMES}

    def is_own_origin(self, headers: Headers) -> bool:
        """Return True when a change was asked for by a page of ours, or by no page."""
        return is_same_site(headers, self.is_own_host)

    def derive_form_token(self, headers: Headers) -> str:
        """Return the token that forms carry: there is one owner."""
        return self.form_token

    def find_person(self, headers: Headers) -> str | None:
        """Return None: the owner is the user whose process this is."""
        return None

    def find_refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not let in, or that brings the key."""
        headers, path = Headers(scope=scope), scope["path"]
        if not self.is_own_host(headers.get("host", "")):
            return PlainTextResponse("this host name is not the console's\n", 421)
        if path == "/healthz":
            return None
        if is_foreign(scope):
            return PlainTextResponse("the console belongs to another user of this machine\n", 403)
        if scope["method"] not in METHODS:
            return PlainTextResponse(OTHER_METHOD, 405)
        if path == ENTER:
            return self._enter(parse_qs(scope["query_string"].decode("latin-1")))
        if path.startswith(OPEN_PATHS) or self.has_session(headers):
            return None
        return PlainTextResponse(
            "This page needs the key of this console.\n\nOpen the address that `driftloop up` or `driftloop console` "
            "printed; `driftloop console` in the same folder prints it again.\n",
            401,
        )

    def _enter(self, query: Mapping[str, list[str]]) -> Response:
        if not self.knows_secret(query.get("key", [""])[0]):
            return PlainTextResponse(
                "this key is of an earlier start: `driftloop console` prints the address of this one\n",
                403,
            )
        answer = RedirectResponse("/", 303)
        session = self.derive_token("session")
        answer.set_cookie(self.cookie, session, httponly=True, samesite="strict", path="/")
        return answer


def is_same_site(headers: Headers, is_own_host: Callable[[str], bool]) -> bool:
    """Return True for a request that no page of another site has made."""
    if headers.get("sec-fetch-site") not in (None, "same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or is_own_host(urlsplit(origin).netloc)


def find_peer(client: tuple[str, int], server: tuple[str, int], table: str) -> int | None:
    """Return the user id that owns the other end of a connection on this machine, by the kernel's
    table of sockets; None when it has no such connection."""
    wanted = _format_address(*client), _format_address(*server)
    for line in table.splitlines()[1:]:
        match = _SOCKET.match(line)
        if match is not None and (match[1], match[2]) == wanted:
            return int(match[3])
    return None


def _format_address(host: str, port: int) -> str:
    digits = bytes(reversed(bytes(map(int, host.split("."))))).hex().upper()
    return f"{digits}:{port:04X}"


def is_foreign(scope: Scope) -> bool:
    """Return True for a connection that another user of this machine has made. The superuser reads
    every file anyway; where the table can't be read, the key alone counts."""
    client, server = scope.get("client"), scope.get("server")
    try:
        owner = find_peer(tuple(client), tuple(server), _SOCKETS.read_text())  # type: ignore[arg-type]
    except (OSError, TypeError, ValueError):
        return False
    return owner is not None and owner not in (0, os.geteuid())


class AccessGate:
    """The ASGI application before all others."""

    def __init__(self, application: ASGIApp, access: Access) -> None:
        self._application = application
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the request through."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        refusal = self._access.find_refusal(scope)
        if refusal is not None:
            _add_headers(refusal.headers)
            await refusal(scope, receive, send)
            return
        if scope["method"] == "POST":
            body = await _read_body(receive)
            if (refusal := self._find_forgery(scope, body)) is not None:
                _add_headers(refusal.headers)
                await refusal(scope, receive, send)
                return
            receive = _replay_body(body or b"", receive)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                _add_headers(headers)
                if not scope["path"].startswith("/assets/"):
                    headers["cache-control"] = "no-store"
            await send(message)

        await self._application(scope, receive, send_guarded)

    def _find_forgery(self, scope: Scope, body: bytes | None) -> Response | None:
        if body is None:
            return PlainTextResponse(f"a form has at most {LARGEST_BODY} bytes\n", 413)
        headers = Headers(scope=scope)
        given = headers.get("x-driftloop-token") or read_form(body).get(FORM_TOKEN, "")
        wanted = self._access.derive_form_token(headers)
        right = hmac.compare_digest(given.encode(), wanted.encode())
        if right and self._access.is_own_origin(headers):
            return None
        return PlainTextResponse(
            "this form is not of a page of this console: load the page again\n", 403
        )


def _add_headers(headers: MutableHeaders) -> None:
    for name, value in HEADERS.items():
        # a page may have a policy of its own
        headers.setdefault(name, value)


def read_form(body: bytes) -> dict[str, str]:
    """Read the fields of a form; of a field that comes twice the last."""
    fields = parse_qs(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=100)
    return {name: values[-1] for name, values in fields.items()}


async def _read_body(receive: Receive) -> bytes | None:
    """Return the body of a request; None for one that is too large."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return body
        body += bytes(message.get("body", b""))
        if len(body) > LARGEST_BODY:
            return None
        if not message.get("more_body", False):
            return body


def _replay_body(body: bytes, receive: Receive) -> Receive:
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
