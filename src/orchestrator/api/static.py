"""The page: the built files beside this package, and the page's own addresses, which all are its `index.html`."""

from pathlib import Path

from fastapi import FastAPI, Request
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOLDER = Path(__file__).parent / "static"

_MISSING = (
    "The page isn't built. Build it with `make ui` (or `python scripts/build_ui.py`); the API under /api/v1 works "
    "without it.\n"
)


def install(app: FastAPI) -> None:
    """Serve the page below everything else. Without built files `/` says how to get them."""
    if (FOLDER / "index.html").is_file():
        app.frontend("/", directory=FOLDER, fallback="index.html", check_dir=True)
        app.add_middleware(Page)
    else:
        app.add_api_route("/", _missing, methods=["GET"], include_in_schema=False)


async def _missing(_request: Request) -> Response:
    return PlainTextResponse(_MISSING, 503)


class Page:
    """What the page's files need around them: how long they may be kept, and that they never stand in for the API.

    Files with a hash in their name may be kept for good; the page itself is asked for anew each time.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if path.startswith("/api/"):
            # The page answers to unknown addresses of browsers, told by what they accept: not to those of the API.
            headers = [(name, value) for name, value in scope["headers"] if name != b"accept"]
            await self._app({**scope, "headers": headers}, receive, send)
            return

        async def send_with_age(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                kept = path.startswith("/assets/")
                age = "public, max-age=31536000, immutable" if kept else "no-cache"
                MutableHeaders(scope=message)["Cache-Control"] = age
            await send(message)

        await self._app(scope, receive, send_with_age)
