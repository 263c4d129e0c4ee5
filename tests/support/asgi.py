"""Asks an ASGI application in this process, without a socket."""

import asyncio
from typing import Any

import httpx
from fastapi import FastAPI


def ask(
    app: FastAPI, path: str, *, method: str = "GET", host: str = "127.0.0.1:8080", **more: Any
) -> httpx.Response:
    """Return the application's answer; redirects are not followed."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.request(method, path, **more)

    return asyncio.run(send())
