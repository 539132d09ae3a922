"""A headless Chromium that tests drive over the DevTools Protocol, on two pipes."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--mute-audio"),
    *("--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--disable-sync"),
    *("--autoplay-policy=no-user-gesture-required", "--remote-debugging-pipe"),
)


class Tab:
    """One page; `troubles` are its console's errors, `asked` the addresses it wanted."""

    def __init__(self, process, to_browser, from_browser):
        self._process, self._to, self._from = process, to_browser, from_browser
        self._rest, self._last, self._session = b"", 0, None
        self.troubles, self.asked = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """The result of one command of the protocol."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 60
        while True:
            answer = self._receive(end)
            if answer.get("id") == self._last:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)

    def _receive(self, end):
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            data = os.read(self._from, 1 << 20)
            assert data, f"Chromium ended with {self._process.poll()}"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        name, told = event.get("method"), event.get("params", {})
        if name == "Network.requestWillBeSent":
            self.asked.append(told["request"]["url"])
        elif name == "Runtime.exceptionThrown":
            self.troubles.append(json.dumps(told["exceptionDetails"])[:500])
        elif name == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.troubles.append(told["entry"]["text"] + " " + told["entry"].get("url", ""))

    def open(self, address, width=1280, height=900, *, phone=False):
        """Go to an address, in a window of this size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=2 if phone else 1, mobile=phone)  # fmt: skip
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def js(self, code):
        """The value of an expression in the page, awaited."""
        done = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, code, timeout_s=60):
        """The first value of an expression that is true."""
        end = time.monotonic() + timeout_s
        while not (value := self.js(code)):
            assert time.monotonic() < end, (code, self.troubles, self.js("document.body.innerText"))
            time.sleep(0.05)
        return value

    def give_files(self, selector, *paths):
        """Choose files in an input."""
        found = self.call("Runtime.evaluate", expression=f"document.querySelector({selector!r})")
        self.call("DOM.setFileInputFiles", objectId=found["result"]["objectId"],
                  files=[str(path) for path in paths])  # fmt: skip

    def click(self, selector, across=0.5, down=0.5):
        """Press and release the mouse at a part of an element's width and height."""
        left, top, wide, high = self.js(
            f"(async () => {{ const e = document.querySelector({selector!r}); e.scrollIntoView();"
            # Until it is drawn where it will be met: pictures above it may just have come.
            " for (let i = 0; i < 2; i++) { await new Promise(requestAnimationFrame); }"
            " const r = e.getBoundingClientRect(); return [r.left, r.top, r.width, r.height]; })()"
        )
        where = {"x": left + across * wide, "y": top + down * high}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where)

    def press(self, key):
        """Press and release a key, by its DOM name."""
        codes = {"Tab": 9, "Enter": 13, " ": 32, "End": 35, "Home": 36, "ArrowRight": 39}
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            code = codes[key]
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more
            )

    def screenshot(self, path):
        """Write the whole page as PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(folder):
    """A tab of a Chromium of its own, whose profile and downloads are in `folder`."""
    ours_read, theirs_write = os.pipe()
    theirs_read, ours_write = os.pipe()

    def place():
        os.dup2(theirs_read, 3)
        os.dup2(theirs_write, 4)

    process = subprocess.Popen(
        [CHROMIUM, *OPTIONS, f"--user-data-dir={folder / 'profile'}"],
        preexec_fn=place, pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(folder)}, start_new_session=True,
    )  # fmt: skip
    os.close(theirs_read)
    os.close(theirs_write)
    try:
        tab = Tab(process, ours_write, ours_read)
        tab.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        yield tab
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        os.close(ours_read)
        os.close(ours_write)
