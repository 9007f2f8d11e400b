"""Files over HTTPS: one request each, in pieces to a file, and nothing when nothing has changed.

A server is asked with what it said of the file before (ETag, or the time of its last change). Where it sends on
to another host is followed only where that host is named, always over https, and never with a credential.
"""

import base64
import hashlib
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from driftloop.errors import StoreError

Report = Callable[[str], None]

CHUNK = 1024 * 1024
PATIENCE = 60.0
"""Seconds without a byte after which a server counts as gone."""
PAUSES = (1.0, 4.0, 15.0)
"""Seconds before each next try, after a failure that may be over soon."""
AGAIN = (408, 425, 429, 500, 502, 503, 504)
LONGEST_PAUSE = 120.0
"""Seconds that a server may ask to wait."""
REDIRECTS = 5
BETWEEN_REPORTS = 10.0
"""Seconds between two lines about one download."""


@dataclass(frozen=True)
class DownloadedFile:
    """A file as it came."""

    tag: str
    """What its server says of its content; empty when it says nothing."""
    size: int
    sha256: str


class _AgainError(Exception):
    """A failure that may be over soon; after the last try it is the error that it holds."""

    def __init__(self, error: StoreError, pause: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.pause = pause


@dataclass(frozen=True)
class WebFiles:
    """Files of one source. Methods block and raise StoreError, which names URL, status and what to do."""

    redirects: tuple[str, ...] = ()
    """Other hosts that a server may send on to."""
    authorization: str = field(default="", repr=False)
    """Value of the header; empty where the server asks for none."""
    authority: str = ""
    """Certificates (PEM) that are trusted besides the system's."""

    @classmethod
    def with_credentials(
        cls, redirects: tuple[str, ...], credentials: Mapping[str, str], authority: str = ""
    ) -> "WebFiles":
        """Return the files that a token, or user and password, open; or that are open to anybody."""
        if token := credentials.get("token"):
            return cls(redirects, f"Bearer {token.strip()}", authority)
        if "user" not in credentials:
            return cls(redirects, "", authority)
        pair = f"{credentials['user']}:{credentials.get('password', '')}"
        return cls(redirects, f"Basic {base64.b64encode(pair.encode()).decode()}", authority)

    def fetch(
        self, url: str, file: Path, *, tag: str, limit: int, report: Report
    ) -> DownloadedFile | None:
        """Fetch a file of at most `limit` bytes; None when it is what it was at `tag`."""
        for pause in (*PAUSES, None):
            try:
                return self._fetch_once(url, file, tag, limit, report)
            except _AgainError as failure:
                if pause is None:
                    raise failure.error from failure
                wait = min(pause if failure.pause is None else failure.pause, LONGEST_PAUSE)
                report(f"{failure.error.message}; again in {wait:g} s")
                time.sleep(wait)
        raise AssertionError

    def _fetch_once(
        self, url: str, file: Path, tag: str, limit: int, report: Report
    ) -> DownloadedFile | None:
        # what is hashed is the file, not one of its compressions
        headers = {"User-Agent": "driftloop", "Accept-Encoding": "identity", **_ask_changed(tag)}
        request = Request(url, headers=headers)  # noqa: S310 - https, as the spec says
        if self.authorization:
            # one that no redirect carries on
            request.add_unredirected_header("Authorization", self.authorization)
        opener = build_opener(
            HTTPSHandler(context=self._build_context(url)),
            _Redirects(urlsplit(url).netloc, self.redirects),
        )
        try:
            with opener.open(request, timeout=PATIENCE) as answer:
                return _store_answer(url, answer, file, limit, report)
        except HTTPError as error:
            with error:
                if error.code == HTTPStatus.NOT_MODIFIED:
                    return None
                raise self._explain_status(url, error) from error
        except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
            raise _explain_failure(url, error) from error

    def _build_context(self, url: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.authority:
            try:
                context.load_verify_locations(cadata=self.authority)
            except (ssl.SSLError, ValueError) as error:
                raise StoreError(
                    f"{url}: `authority` of the source is no certificate: {error}",
                    hint="it must be a PEM text that begins with -----BEGIN CERTIFICATE-----",
                ) from error
        return context

    def _explain_status(self, url: str, error: HTTPError) -> Exception:
        message = f"{url}: the server answers {error.code} {error.reason}".rstrip()
        if error.code in (401, 403):
            hint = (
                "it refuses the credentials: check the Secret's keys that `credentials` names"
                if self.authorization
                else "it may ask for a login: name a Secret's keys in `credentials` of the source"
            )
            return StoreError(message, hint=hint)
        if error.code in (404, 410):
            return StoreError(message, hint="check the address; take the source out if it is gone")
        refused = StoreError(message, hint="ask whoever runs the server, and try again")
        if error.code in AGAIN:
            wait = error.headers.get("Retry-After", "")
            return _AgainError(refused, float(wait) if wait.isdigit() else None)
        return refused


def _ask_changed(tag: str) -> dict[str, str]:
    name, _, value = tag.partition(" ")
    return {"etag": {"If-None-Match": value}, "modified": {"If-Modified-Since": value}}.get(
        name, {}
    )


def _read_tag(headers: HTTPMessage) -> str:
    if etag := headers.get("ETag"):
        return f"etag {etag}"
    if modified := headers.get("Last-Modified"):
        return f"modified {modified}"
    return ""


def _store_answer(
    url: str, answer: HTTPResponse, file: Path, limit: int, report: Report
) -> DownloadedFile:
    kind = (answer.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    if kind == "text/html" and file.suffix not in (".html", ".htm"):
        raise StoreError(
            f"{url}: the server answers with a web page in the place of {file.name}",
            hint="it may be a login, or a page about the file: name the address of the file itself",
        )
    if (encoding := answer.headers.get("Content-Encoding", "identity")) != "identity":
        raise StoreError(
            f"{url}: the server answers in the encoding `{encoding}`, must be the file as it is"
        )
    length = answer.headers.get("Content-Length", "")
    whole = int(length) if length.isdigit() else None
    if whole is not None and whole > limit:
        raise _too_large(url, f"has {whole} bytes", limit)
    digest, size, told = hashlib.sha256(), 0, time.monotonic()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as out:
        while chunk := answer.read1(CHUNK):
            size += len(chunk)
            if size > limit:
                raise _too_large(url, f"has more than {limit} bytes", limit)
            digest.update(chunk)
            out.write(chunk)
            if (now := time.monotonic()) - told >= BETWEEN_REPORTS:
                told = now
                report(f"{url}: {describe_size(size, whole)}")
    if whole is not None and size < whole:
        short = StoreError(f"{url}: the answer ended after {size} of {whole} bytes")
        raise _AgainError(short)
    return DownloadedFile(_read_tag(answer.headers), size, digest.hexdigest())


def describe_size(size: int, whole: int | None) -> str:
    """Say how much of a file is there."""
    so_far = f"{size / 1e6:.1f}"
    return f"{so_far} MB" if whole is None else f"{so_far} of {whole / 1e6:.1f} MB"


def _too_large(url: str, what: str, limit: int) -> StoreError:
    return StoreError(
        f"{url} {what}, at most {limit} more are read",
        hint="raise `data.maxSize` in the spec, or name a smaller file",
    )


def _explain_failure(url: str, error: Exception) -> Exception:
    reason = error.reason if isinstance(error, URLError) else error
    text = str(reason) or type(reason).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return StoreError(
            f"{url}: the server's certificate is not trusted: {text}",
            hint="if it is from an authority of your own, give its certificate: `authority` of the source",
        )
    return _AgainError(
        StoreError(
            f"{url} can't be reached: {text}",
            hint="check the host's name and port, and whether the pod's network lets it out",
        )
    )


class _Redirects(HTTPRedirectHandler):
    """Follows redirects over https to the host itself and to those that are named."""

    max_redirections = REDIRECTS

    def __init__(self, host: str, others: tuple[str, ...]) -> None:
        self._hosts = (host, *others)

    def redirect_request(  # noqa: PLR0917 - urllib calls it so
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        parts = urlsplit(newurl)
        if parts.scheme != "https":
            raise StoreError(
                f"{req.full_url}: the server sends on to {parts.scheme}://{parts.netloc}, must be https",
                hint="name the address of the file itself",
            )
        if parts.netloc not in self._hosts:
            raise StoreError(
                f"{req.full_url}: the server sends on to another host, {parts.netloc}",
                hint=f"if that is right, name it: `redirects: [{parts.netloc}]`",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)
