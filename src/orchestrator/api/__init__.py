"""The HTTP face: FastAPI under `/api/v1`, and the page below it.

`create_app(service, settings)` makes an application around a running engine. `app` is a whole server for
`uvicorn orchestrator.api:app`: its lifespan opens the store and runs a worker. Both are made when they are asked for,
so that importing this package costs nothing.

A request passes the gate (`security`: host, origin, headers), its route (one file a resource), and the engine's
service. The API does no domain work: it checks what comes in (`bodies`, `params`, `models`), turns errors into problems
(`problems`), and streams (`sse`).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

    from orchestrator.api.application import create_app

    app: FastAPI

__all__ = ["app", "create_app"]


def __getattr__(name: str) -> Any:
    if name == "create_app":
        from orchestrator.api.application import create_app

        return create_app
    if name == "app":
        from orchestrator.api.standalone import standalone_app

        globals()["app"] = made = standalone_app()
        return made
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
