"""What every route needs: the engine's service and the settings of the application that it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Request

from orchestrator.model.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from orchestrator.config import Settings
    from orchestrator.engine.service.facade import Service

ENVELOPE_BYTES = 64 * 1024
"""What a body may be longer than the value in it."""


def service_of(request: Request) -> Service:
    """The engine behind this application."""
    return request.app.state.service


def settings_of(request: Request) -> Settings:
    """The settings of this application."""
    return request.app.state.settings


def value_limit(request: Request) -> int:
    """Longest body that carries a value."""
    return settings_of(request).payload_bytes_max + ENVELOPE_BYTES


DOCUMENT_BYTES_MAX = DEFAULT_LIMITS.document_bytes_max
"""Longest document; the body is nothing else."""
