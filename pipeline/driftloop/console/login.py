"""Access on a cluster: of people whom the gateway has let in, by the name that it wrote into the request.

The console reads no token itself. The gateway verifies it, lets only who has one in, and to what
changes something only who has the role; nothing but the gateway reaches the console's port
(cluster/infrastructure/console).
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope

from driftloop.console.access import METHODS, OTHER_METHOD, is_same_site
from driftloop.contract.documents import escape_text

USER_HEADER = "x-driftloop-user"
"""Header with the name that the gateway takes from a verified token; it removes one that came."""
LONGEST_NAME = 200


@dataclass(frozen=True)
class LoginAccess:
    """People whom a login proxy has let in, under one host name."""

    host: str
    """Name under which the console is reached, without a port."""
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def find_refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that comes from elsewhere than the gateway."""
        headers = Headers(scope=scope)
        if scope["path"] == "/healthz":
            return None
        if not self.is_own_host(headers.get("host", "")):
            return PlainTextResponse("this host name is not the console's\n", 421)
        if scope["method"] not in METHODS:
            return PlainTextResponse(OTHER_METHOD, 405)
        if self.find_person(headers) is None:
            return PlainTextResponse("the console is reached by way of its login only\n", 401)
        return None

    def is_own_host(self, host: str) -> bool:
        """Return True for the Host header of a request that is for us."""
        return host.lower().partition(":")[0] == self.host.lower()

    def is_own_origin(self, headers: Headers) -> bool:
        """Return True when a change was asked for by a page of ours, or by no page."""
        return is_same_site(headers, self.is_own_host)

    def derive_form_token(self, headers: Headers) -> str:
        """Return the token of this person's forms."""
        person = self.find_person(headers) or ""
        return hmac.new(self.secret.encode(), person.encode(), hashlib.sha256).hexdigest()

    def find_person(self, headers: Headers) -> str | None:
        """Return whom the gateway names; None for a request that has not passed it."""
        named = headers.getlist(USER_HEADER)
        if len(named) != 1:
            return None
        return escape_text(" ".join(named[0].split()))[:LONGEST_NAME] or None
