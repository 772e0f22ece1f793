"""Chromium: where it is, how it is started, and what its pages did that they should not."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

PATIENCE = 900_000  # milliseconds: the last resort against hanging, whatever else the machine does
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NONE = "no Chromium on this machine (looked for " + ", ".join(NAMES) + "): apt install chromium, or set CHROME"
QUIET = (
    "--no-sandbox",  # containers have no user namespaces; all that is opened is our own
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

# anywidget says so when a model takes more than two seconds, as plotly's five megabytes do on a busy machine, and goes
# on with it; that the figure is there in the end, and moves, is tested
SLOW = "[anywidget] Failed to initialize model."


def find_chromium() -> str | None:
    """The path of the browser: what the variable CHROME says, else the first of its usual names."""
    asked = os.environ.get("CHROME")
    if asked and not shutil.which(asked):
        raise FileNotFoundError(f"the environment variable CHROME is {asked!r}, and that is no program")
    return next(filter(None, map(shutil.which, [asked] if asked else NAMES)), None)


@contextmanager
def chromium(path: str) -> Iterator:
    """A playwright `Browser` without a window."""
    from playwright.sync_api import sync_playwright  # here: the tests are collected without it too

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET, timeout=PATIENCE)
        try:
            yield browser
        finally:
            browser.close()


class Watch:
    """What goes wrong in the pages of a context: errors in the console, exceptions, requests to elsewhere.

    `home` is the only host and port that may be asked; without it none may.
    """

    def __init__(self, context, home: str | None = None):
        self.home = home
        self.troubles: list[str] = []
        context.set_default_timeout(PATIENCE)
        context.on("console", self._console)
        context.on("weberror", lambda raised: self._raised(str(raised.error)))
        context.on("request", lambda request: self._request(request.url))
        context.on("page", lambda page: page.on("websocket", lambda socket: self._request(socket.url)))

    def _console(self, message) -> None:
        if message.type == "error":
            self.troubles.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _raised(self, text: str) -> None:
        if SLOW not in text:
            self.troubles.append(f"page error: {text}")

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob", "file", "about") and parts.netloc != self.home:
            self.troubles.append(f"request to elsewhere: {url}")


if __name__ == "__main__":
    if found := find_chromium():
        print(found)
    else:
        print(f"The browser tests are skipped: {NONE}.", file=sys.stderr)
