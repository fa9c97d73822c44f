"""A web server in a thread, on this machine alone, that can misbehave."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@dataclass
class Web:
    """What the server does, and what it was asked for: method, path, and the range that was wanted.

    ranges: whether it gives parts of files.
    break_after: bytes of a body after which it hangs up, by the end of the path, so many times.
    holds: bytes of a body after which it says so and waits until it may go on, by the end of the path.
    is_read: whether the client has read what came before the server hangs up.
    headers: more of them, by the end of the path.
    pages: listings by path, in place of the folder's own.
    """

    folder: Path
    address: str = ""
    ranges: bool = False
    break_after: dict[str, tuple[int, int]] = field(default_factory=dict)
    holds: dict[str, tuple[int, threading.Event, threading.Event]] = field(default_factory=dict)
    is_read: Callable[[], bool] = lambda: True
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def bodies(self, name: str) -> list[str]:
        """The ranges in which a file's bytes were asked for; "" for all of it."""
        return [wanted for method, path, wanted in self.asked if method == "GET" and path.endswith(name)]


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, web: Web, *arguments: object) -> None:
        self.web = web
        super().__init__(*arguments, directory=str(web.folder))

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        wanted = self.headers.get("Range", "")
        self.web.asked.append((self.command, self.path, wanted))
        path = Path(self.translate_path(self.path))
        if self.path in self.web.pages:
            self._send(self.web.pages[self.path].encode(), {"Content-Type": "text/html"})
        elif not path.is_file():
            super().do_GET() if self.command == "GET" else super().do_HEAD()
        else:
            content, size = path.read_bytes(), path.stat().st_size
            headers = {"Last-Modified": self.date_time_string(path.stat().st_mtime)}
            headers |= next((more for end, more in self.web.headers.items() if self.path.endswith(end)), {})
            if wanted and self.web.ranges:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                content = content[int(first) : int(last or size) + 1]
                headers["Content-Range"] = f"bytes {first}-{int(first) + len(content) - 1}/{size}"
            self._send(content, headers, 206 if wanted and self.web.ranges else 200)

    def _send(self, content: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        end = next((end for end, (_, times) in self.web.break_after.items() if self.path.endswith(end) and times), None)
        if end is not None:
            count, times = self.web.break_after[end]
            self.web.break_after[end] = (count, times - 1)
            content = content[:count]
            self.close_connection = True
            self.wfile.write(content)
            # What has come before it hangs up, the client has read: nothing is told of what is on its way.
            for _ in range(6000):
                if self.web.is_read():
                    break
                time.sleep(0.01)
            return
        for end, (count, half, going_on) in list(self.web.holds.items()):
            if self.path.endswith(end):
                self.wfile.write(content[:count])
                half.set()
                going_on.wait()
                return
        self.wfile.write(content)


@contextmanager
def served(folder: Path) -> Iterator[Web]:
    """Serve a folder; skipped where the package that reads web servers is not installed (the extra `http`)."""
    pytest.importorskip("aiohttp")
    web = Web(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, web))
    server.daemon_threads = True
    web.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
