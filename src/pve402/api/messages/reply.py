"""Builds responses from schemas."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from pydantic import BaseModel
from starlette.responses import Response

from pve402.leases import service

_FEW: Final = 100  # 2 ms of the event loop


def respond(model: BaseModel, status: int = 200) -> Response:
    """Build the response that carries one schema."""
    return Response(model.model_dump_json(by_alias=True), status, media_type="application/json")


def respond_list(models: Sequence[BaseModel], status: int = 200) -> Response:
    """Build the response that carries a list of schemas."""
    content = ",".join(model.model_dump_json(by_alias=True) for model in models)
    return Response(f"[{content}]", status, media_type="application/json")


async def respond_each(
    views: list[service.LeaseView], shape: Callable[[service.LeaseView], BaseModel]
) -> Response:
    """Build the response with a schema for each view; long lists are built in a thread."""

    def build() -> Response:
        return respond_list([shape(view) for view in views])

    return build() if len(views) <= _FEW else await asyncio.to_thread(build)
