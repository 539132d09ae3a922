"""docs/browser: the shipped graph in a browser, by files alone."""

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neurogaze_fast.deploy.predictor import prepare_face
from neurogaze_fast.deploy.shipped import SHIPPED
from neurogaze_fast.faces.synthetic import draw_faces
from tests.browser import browser, needs_chromium

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "browser"
RUNTIME = FOLDER / "node_modules" / "onnxruntime-web" / "dist"
INSTALL = "npm ci --ignore-scripts --prefix docs/browser"


def test_what_it_names_is_there_and_nothing_is_of_elsewhere():
    texts = {
        p.name: p.read_text() for p in FOLDER.iterdir() if p.suffix in (".html", ".css", ".mjs")
    }
    assert {"index.html", "page.css", "page.mjs", "model.mjs", "resize.mjs"} == texts.keys()
    for name, text in texts.items():
        assert "://" not in text, name
        for named in re.findall(r"""(?:href=|src=|from |URL\()"(\.[^"]+|[a-z]+\.\w+)\"""", text):
            assert "node_modules" in named or (FOLDER / named).exists(), (name, named)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', texts["index.html"])[1]
    parts = dict(part.split(" ", 1) for part in policy.split("; "))
    assert parts["default-src"] == "'none'"
    assert parts["connect-src"] == "'self'"
    assert parts["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert not re.search(
        r"method|POST|sendBeacon|WebSocket", texts["page.mjs"] + texts["model.mjs"]
    )


def test_the_runtime_is_pinned_by_its_hash_and_no_host_is_named():
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]["onnxruntime-web"]
    text = (FOLDER / "package-lock.json").read_text()
    locked = json.loads(text)["packages"]["node_modules/onnxruntime-web"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", wanted)
    assert locked["version"] == wanted
    assert locked["integrity"].startswith("sha512-")
    assert "resolved" not in text
    assert INSTALL in (FOLDER / "README.md").read_text()


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("shape", [(48, 48), (49, 47), (300, 200), (31, 20), (5, 1000)])
def test_the_square_is_resized_as_pillow_does_to_within_a_level(shape, tmp_path):
    height, width = shape
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 4), np.uint8)
    (tmp_path / "pixels").write_bytes(pixels.tobytes())
    script = (
        'import { readFileSync, writeFileSync } from "node:fs";'
        f'import {{ resize }} from "{(FOLDER / "resize.mjs").as_uri()}";'
        f'writeFileSync("out", resize(readFileSync("pixels"), {width}, {height}, 48));'
    )
    subprocess.run(
        ["node", "--input-type=module", "-e", script], cwd=tmp_path, check=True, timeout=60
    )
    found = np.frombuffer((tmp_path / "out").read_bytes(), np.uint8).reshape(48, 48, 3)
    wanted = prepare_face(pixels[..., :3], 48)
    assert np.abs(found.astype(int) - wanted).max() <= 1
    assert (found != wanted).mean() < 0.3  # which pass is first decides how halves are rounded


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files of the repository; what is posted is an error, as on any plain host."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    handler = functools.partial(Quiet, directory=str(ROOT))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with browser(tmp_path_factory.mktemp("chromium")) as opened:
                opened.address = f"http://127.0.0.1:{server.server_address[1]}/"
                yield opened
        finally:
            server.shutdown()
            thread.join()


def answer(tab, path):
    """The shown percentages of a picture, once they are its own."""
    tab.js("document.querySelectorAll('#bars tr').forEach((r) => { r.cells[2].textContent = ''; })")
    tab.give_files("#file", path)
    tab.wait("document.querySelector('#bars td:last-child').textContent.includes('%')")
    rows = tab.js("[...document.querySelectorAll('#bars tr')].map((r) => r.cells[2].textContent)")
    return [float(text.removesuffix(" %")) / 100 for text in rows]


@needs_chromium
@pytest.mark.skipif(not RUNTIME.is_dir(), reason=f"onnxruntime-web is not installed ({INSTALL})")
def test_it_answers_as_onnx_runtime_does_and_sends_nothing(tab, tmp_path):
    tab.open(tab.address + "docs/browser/")
    tab.wait("document.getElementById('status').textContent === 'The model is loaded.'")
    wanted = json.loads((SHIPPED / "expected.json").read_text())
    faces = draw_faces("valid", 10)[0]
    for face, probabilities in zip(faces, wanted["probabilities"], strict=True):
        Image.fromarray(face).save(tmp_path / "face.png")
        assert answer(tab, tmp_path / "face.png") == pytest.approx(probabilities, abs=3e-3)

    # A face within a larger picture: the mouse draws the square.
    photo = np.full((240, 400), 128, np.uint8)
    photo[60:204, 200:344] = np.repeat(np.repeat(faces[3], 3, 0), 3, 1)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    answer(tab, tmp_path / "photo.png")
    left, top, scale = tab.js(
        "(() => { const r = document.getElementById('view').getBoundingClientRect();"
        " return [r.left, r.top, r.width / 400]; })()"
    )
    for kind, x, y in (
        ("mousePressed", 200, 60),
        ("mouseMoved", 344, 204),
        ("mouseReleased", 344, 204),
    ):
        tab.call("Input.dispatchMouseEvent", type=kind, x=left + scale * x, y=top + scale * y,
                 button="left", buttons=1, clickCount=1)  # fmt: skip
    tab.wait("document.querySelector('tr.top').cells[0].textContent === 'surprise'")
    shown = float(
        tab.js("document.querySelector('tr.top').cells[2].textContent").removesuffix(" %")
    )
    assert shown / 100 == pytest.approx(wanted["probabilities"][3][2], abs=0.05)

    assert tab.troubles == []
    assert all(url.startswith((tab.address, "blob:", "data:")) for url in tab.asked), tab.asked
    tab.open(tab.address + "docs/browser/", 390, 844, phone=True)
    tab.give_files("#file", tmp_path / "photo.png")
    tab.wait("document.querySelector('tr.top') !== null")
    assert tab.js("document.documentElement.scrollWidth") <= 390
