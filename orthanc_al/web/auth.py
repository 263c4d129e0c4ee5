"""Who may ask: the password beyond loopback, the host name on it, and no orders from other pages.

On loopback there is no password, so a page of elsewhere could reach us through a name that it points at
127.0.0.1 (DNS rebinding): there the Host header must be a name of loopback.
"""

import base64
import binascii
import hmac
from collections.abc import Collection, Mapping
from typing import Annotated, Final

from fastapi import Depends, Header, HTTPException, Request
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orthanc_al.web.context import User

OPEN_PATH: Final = "/healthz"
"""What a container's health check may ask without the password: it tells nothing."""

_LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1"})

_SECURITY_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # The pages name patients: nothing of them stays in a browser's cache.
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware: lets a request through or not, and puts the security headers on each answer.

    Parameters
    ----------
    app
        What is guarded.
    password
        Asked for by HTTP Basic (RFC 7617) with any user name.
    users
        Login -> who it is; each is asked for her own password. Without users and password only
        loopback's names are answered.
    """

    def __init__(self, app: ASGIApp, password: str, users: Mapping[str, User]) -> None:
        self._app = app
        self._password = password.encode()
        self._users = users

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = None if scope["path"] == OPEN_PATH else self._refusal(Headers(scope=scope), scope)
        await (refusal or self._app)(scope, receive, _with_headers(send))

    def _refusal(self, headers: Headers, scope: Scope) -> PlainTextResponse | None:
        if not self._password and not self._users:
            if _host_name(headers.get("host", "")) in _LOOPBACK_NAMES:
                return None
            return PlainTextResponse(
                "Only 127.0.0.1 and localhost are answered here; other names need web.host and a password.\n",
                status_code=421,
            )
        user, password = _credentials(headers.get("authorization", ""))
        if self._is_known(user, password):
            state = scope.setdefault("state", {})
            state["user"], state["known_user"] = user, self._users.get(user)
            return None
        return PlainTextResponse(
            "The password of the worklist is asked for" + (".\n" if self._users else " (any user name).\n"),
            status_code=401,
            headers={"www-authenticate": 'Basic realm="orthanc_al", charset="UTF-8"'},
        )

    def _is_known(self, user: str, password: bytes) -> bool:
        if not self._users:
            return hmac.compare_digest(password, self._password)
        known = self._users.get(user)
        # Somebody unknown costs the same time as a wrong password.
        right = (known.password if known else "no such user").encode()
        return hmac.compare_digest(password, right) and known is not None


class ForViewers:
    """ASGI middleware: lets pages of configured viewers ask the API, and nothing else (Fetch, 3.2).

    Parameters
    ----------
    app
        What answers.
    origins
        As browsers name them: scheme, host and port.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._shared = CORSMiddleware(
            app,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["content-type", "x-orthanc-al", "authorization"],
            allow_credentials=True,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        shared = scope["type"] == "http" and scope["path"].startswith("/api/v1/")
        await (self._shared if shared else self._app)(scope, receive, send)


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            set_already = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *(
                    (name.encode(), value.encode())
                    for name, value in _SECURITY_HEADERS.items()
                    if name.encode() not in set_already
                ),
            ]
        await send(message)

    return sender


def _host_name(host: str) -> str:
    """Return the name of a Host header without its port (RFC 9110 7.2)."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _credentials(authorization: str) -> tuple[str, bytes]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", b""
    try:
        user, _, password = base64.b64decode(encoded, validate=True).partition(b":")
    except binascii.Error:
        return "", b""
    return user.decode(errors="replace")[:64], password


def _ordered_here(
    request: Request,
    origin: Annotated[str | None, Header(include_in_schema=False)] = None,
    x_orthanc_al: Annotated[
        str | None, Header(description="Any value: shows that no foreign page sent the request.")
    ] = None,
) -> str:
    """Refuse an order that another site's page may have sent, and return who gave it.

    A browser names the page that a POST comes from, and lets no foreign page set a header of ours
    unasked; the password is no help, since browsers add it by themselves.

    Raises
    ------
    HTTPException
        403.
    """
    ours = f"{request.url.scheme}://{request.headers.get('host', '')}"
    if origin is None and x_orthanc_al is None:
        raise HTTPException(403, "Send the header X-Orthanc-AL with this request, or use the page's button.")
    viewers = request.app.state.context.origins if request.url.path.startswith("/api/v1/") else ()
    # A proxy may end TLS before us: the host decides.
    here = origin is None or origin.partition("://")[2] == ours.partition("://")[2]
    if not here and origin not in viewers:
        raise HTTPException(403, "This order came from a page of another site.")
    return str(getattr(request.state, "user", "")) or "web"


OrderedHere = Annotated[str, Depends(_ordered_here)]
"""Who gave an order, once it is sure that no foreign page did."""
