"""A proxy that serves a page below a path and takes that path away before it asks, as ``location`` of nginx does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PREFIX = "/audit"


@contextmanager
def below_a_path(port: int) -> Iterator[str]:
    """The address below which the page at ``port`` is served; a connection a request, or a websocket."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, rest = head.split(" ", 2)
            if not target.startswith(f"{PREFIX}/"):
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return writer.close()
            lines = rest.split("\r\n")
            if not any(line.lower().startswith("upgrade:") for line in lines):
                lines = [line for line in lines if not line.lower().startswith("connection:")]
                lines.insert(1, "Connection: close")
            upstream, to = await asyncio.open_connection("localhost", port)
            to.write(" ".join([method, target.removeprefix(PREFIX), "\r\n".join(lines)]).encode("latin-1"))
            await asyncio.gather(pipe(reader, to), pipe(upstream, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(answer, "localhost", 0)

    async def end(server: asyncio.Server) -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield f"http://localhost:{server.sockets[0].getsockname()[1]}{PREFIX}"
    finally:
        asyncio.run_coroutine_threadsafe(end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
