"""A page in headless Chromium, driven over a pipe by the DevTools protocol: no driver to install."""

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
     if (found := shutil.which(name))), "",
)  # fmt: skip


class Browser:
    """One tab.

    Args:
        width: Of the window, in CSS pixels.
    """

    def __init__(self, width=1400, height=900):
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-")
        ours, theirs = os.pipe(), os.pipe()
        options = [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={self._profile.name}",
        ]  # fmt: skip
        # Chromium reads commands from 3 and writes answers to 4.
        shell = f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", shell, "chromium", CHROMIUM, *options, "about:blank"],
            pass_fds=(ours[0], theirs[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(theirs[1])
        self._write, self._read = ours[1], theirs[0]
        self._numbers, self._waiting, self._session = itertools.count(1), b"", None
        page = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        found = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = found["sessionId"]
        self.call("Page.enable")
        self.resize(width, height)

    def call(self, method, **parameters):
        """A command of the protocol; returns its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def resize(self, width, height=900):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def scheme(self, value):
        """Light or dark."""
        feature = {"name": "prefers-color-scheme", "value": value}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def open(self, path: Path):
        """Loads a page and waits until its charts are drawn."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.until("document.documentElement.dataset.drawn")

    def open_again(self):
        """Loads the page anew, as somebody who has just come."""
        self.call("Page.reload")
        self.until("document.readyState === 'complete'")
        self.until("document.documentElement.dataset.drawn")

    def value(self, expression):
        """What an expression gives, as plain values; a promise is waited for."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression, seconds=20):
        """Waits for something to be true."""
        wait = (
            "new Promise((done, fail) => {{ const end = Date.now() + {ms}; (function look() {{"
            "let is = false; try {{ is = {what}; }} catch {{}}"
            "if (is) done(is); else if (Date.now() > end) fail('never: ' + {text});"
            "else setTimeout(look, 20); }})(); }})"
        )
        return self.value(
            wait.format(ms=1000 * seconds, what=expression, text=json.dumps(expression))
        )

    def press(self, key, times=1):
        """Presses a key as a person does, such as "ArrowRight"; a single letter is typed."""
        codes = {"ArrowLeft": 37, "ArrowRight": 39, "Tab": 9, "Enter": 13, "Home": 36, "End": 35}
        typed = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        for _ in range(times):
            common = {"key": key, "code": key, "windowsVirtualKeyCode": codes.get(key, 0)}
            self.call("Input.dispatchKeyEvent", type="keyDown", **common, **typed)
            self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def move(self, x, y):
        """Moves the mouse to a place of the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x, y):
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )  # fmt: skip

    def picture(self, path: Path, whole=True):
        """Writes a screenshot, of the whole page or of what the window shows."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole, format="png",
                          **({"clip": self._page()} if whole else {}))  # fmt: skip
        path.write_bytes(base64.b64decode(found["data"]))

    def close(self):
        with contextlib.suppress(OSError, AssertionError):
            self._session = None
            self.call("Browser.close")
        for end in (self._write, self._read):
            os.close(end)
        self._process.wait(10)
        self._profile.cleanup()

    def _page(self):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}

    def _next(self):
        while b"\0" not in self._waiting:
            read = os.read(self._read, 1 << 20)
            if not read:
                raise EOFError("Chromium has gone")
            self._waiting += read
        message, _, self._waiting = self._waiting.partition(b"\0")
        return json.loads(message)
