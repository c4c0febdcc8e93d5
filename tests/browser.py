"""What a page does in a real browser: headless Chromium, driven over its own pipe."""

import json
import os
import select
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
_SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip
_SECONDS = 120.0  # for one answer, on a machine with much else to do


def find_browser() -> str | None:
    """Path of the first Chromium that is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Seen:
    """What a page did: dialogs that it opened, addresses that it asked for, what its policy refused; and its text."""

    dialogs: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    text: str = ""


class Browser:
    """A Chromium of its own, in which one page after the other is opened."""

    def __init__(self, program: str, profile: Path) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        # Chromium reads commands from descriptor 3 and writes to 4.
        wiring = f'exec "$@" 3<&{commands} 4>&{answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", wiring, "bash", program, *_SWITCHES, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(commands, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        self._number, self._rest, self._session = 0, b"", None
        self._seen, self._loaded = Seen(), False
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self._call(f"{domain}.enable")

    def open(self, page: Path) -> Seen:
        """Opens the page, waits until it is loaded and drawn, and presses its dialogs away."""
        self._seen, self._loaded = Seen(), False
        self._call("Page.navigate", url=page.as_uri())
        while not self._loaded:
            self._handle(self._read())
        # Handlers such as onerror come after the load, each in a turn of its own.
        self.evaluate("new Promise(done => setTimeout(done, 50))")
        self._seen.text = self.evaluate("document.body.innerText")
        return self._seen

    def prefer(self, scheme: str) -> None:
        """Opens the next pages as a reader with this colour scheme does, 'light' or 'dark'."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", features=features)

    def resize(self, width: int) -> None:
        """Gives the window this width, in pixels, and time to draw anew."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self.evaluate("new Promise(done => setTimeout(done, 500))")

    def evaluate(self, script: str) -> Any:
        """Value of a script in the open page."""
        done = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def close(self) -> None:
        """Ends the browser."""
        self._session = None
        self._call("Browser.close")
        self._process.wait(_SECONDS)
        os.close(self._commands)
        os.close(self._answers)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = self._send(method, **parameters)
        while (message := self._read()).get("id") != number:
            self._handle(message)
        assert "error" not in message, message
        return message["result"]

    def _send(self, method: str, **parameters: Any) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        return self._number

    def _read(self) -> dict[str, Any]:
        until = monotonic() + _SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, until - monotonic()))
            block = os.read(self._answers, 2**16) if ready else b""
            assert block, "Chromium does not answer"
            self._rest += block
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def _handle(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Page.javascriptDialogOpening":
                self._seen.dialogs.append(parameters["message"])
                self._send("Page.handleJavaScriptDialog", accept=True)
            case "Network.requestWillBeSent":
                self._seen.asked.append(parameters["request"]["url"])
            case "Log.entryAdded" if "Content Security Policy" in parameters["entry"]["text"]:
                self._seen.refused.append(parameters["entry"]["text"])
