"""Who may come in: the key, the Host and the Origin of every request; and what browsers are told about our pages."""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from microturn.errors import InputError
from microturn.server.metrics import Metrics

NEED_KEY = ("/v1/", "/metrics")
"""Paths that hold more than the page."""
KEY_PROTOCOL = "openai-insecure-api-key."
SUBPROTOCOLS = ("microturn", "realtime")
"""What a browser that sends its key as a subprotocol gets in answer."""
MIN_KEY_CHARACTERS = 16
CARD_STYLE = "sha256-Cu8rxfR1B5TokWB/v1Si8Tb1lKIZBnaLoNvyfGNo0Qo="
"""The style of the page's cards (page/cards.js), the only one that does not come from a file."""
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; script-src 'self'; style-src 'self' '{CARD_STYLE}'; "
    "connect-src 'self'; img-src 'self' blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self), camera=(self), display-capture=(self)",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def read_keys(path: Path) -> frozenset[str]:
    """One key a line; empty lines and those that begin with # are left out. Raises ``InputError``."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a file of keys ({error})") from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise InputError(f"{path}: holds no key")
    for number, key in enumerate(keys, 1):
        if len(key) < MIN_KEY_CHARACTERS or not key.isascii() or not key.replace("-", "").replace("_", "").isalnum():
            raise InputError(f"{path}: key {number} must have {MIN_KEY_CHARACTERS} or more letters, digits, - and _")
    return frozenset(keys)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Access:
    """The rules. Without ``keys`` none is asked for."""

    keys: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    """Names by which the server may be called, beside localhost and addresses."""
    origins: frozenset[str] = frozenset()
    """Origins other than the server's own whose pages may use it."""

    def refusal(self, path: str, headers: Headers, subprotocols: Iterable[str]) -> tuple[int, str] | None:
        """Why a request is refused, as a status and a cause; ``None`` if it is not."""
        host = headers.get("host", "")
        if not self._knows(host):
            return 403, f"this server is not called {host[:64]!r} (see --allowed-host)"
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host and origin not in self.origins:
            return 403, f"pages of {origin[:64]!r} may not use this server (see --allowed-origin)"
        if self.keys and path.startswith(NEED_KEY) and not self._has_key(headers, subprotocols):
            return 401, "a key is needed: Authorization: Bearer KEY"
        return None

    def _knows(self, host: str) -> bool:
        """A page on another site can give our address a name of its own, but it cannot be called by its address."""
        name = re.sub(r":\d*$", "", host)
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return name == "localhost" or name in self.hosts
        return True

    def _has_key(self, headers: Headers, subprotocols: Iterable[str]) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        candidates = [given.strip()] if scheme.lower() == "bearer" else []
        candidates += [one.removeprefix(KEY_PROTOCOL) for one in subprotocols if one.startswith(KEY_PROTOCOL)]
        # The time that a comparison takes does not depend on where they differ.
        return any(hmac.compare_digest(key.encode(), one.encode()) for key in self.keys for one in candidates)


class Guard:
    """Lets in what ``Access`` allows, and adds ``HEADERS`` to every response."""

    def __init__(self, app: ASGIApp, access: Access, metrics: Metrics) -> None:
        self._app = app
        self._access = access
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._access.refusal(scope["path"], Headers(scope=scope), scope.get("subprotocols", ()))
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
            return
        status, cause = refusal
        self._metrics.refused.labels(str(status)).inc()
        response = JSONResponse(
            {"error": {"type": "invalid_request_error", "code": "refused", "message": cause}}, status
        )
        await response(scope, receive, send_with_headers)
