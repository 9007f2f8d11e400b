"""An issuer of tokens: its key, what it publishes of it, and tokens that it signs."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def encode_part(data: bytes) -> str:
    """Base64 as tokens have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True)
class Issuer:
    """Who signs tokens."""

    name: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def key_set(self) -> dict[str, Any]:
        """The public half, as a JSON Web Key Set."""
        public = encode_part(self.key.public_key().public_bytes_raw())
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": public}]}

    def sign(self, **claims: Any) -> str:
        """A token with these claims."""
        parts = ({"alg": "EdDSA", "kid": "one"}, {"iss": self.name, "sub": "ada", **claims})
        text = ".".join(encode_part(json.dumps(part).encode()) for part in parts)
        return f"{text}.{encode_part(self.key.sign(text.encode()))}"

    @contextmanager
    def publish_keys(self) -> Iterator[str]:
        """The address of its key set, for as long as the block lasts."""
        body = json.dumps(self.key_set).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/keys"
        finally:
            server.shutdown()
