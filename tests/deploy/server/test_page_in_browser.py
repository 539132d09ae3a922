"""The page in a headless Chromium: photos, a video, the camera, the table, keys, a phone."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from neurogaze_fast.deploy.vision.faces_in_picture import Found
from tests.browser import browser, needs_chromium
from tests.deploy.server.server_under_test import serving

pytestmark = needs_chromium
TOKEN = "a-token-of-this-test"
DONE = "items.length && items.every((item) => ['done', 'failed'].includes(item.state))"


class Bright:
    """Finds a face in each half of a picture that is not black: its boxes are known exactly."""

    def find(self, image, size, limit=None):
        height, width = image.shape[:2]
        boxes, faces = [], []
        for left in (0, width // 2):
            half = image[:, left : left + width // 2]
            if half.mean() > 20:
                boxes.append(
                    [left + width // 8, height // 4, left + 3 * width // 8, height // 2, 0.9]
                )
                faces.append(np.full((size, size, 3), round(half.mean()), np.uint8))
        return Found(
            boxes=np.array(boxes, np.float32).reshape(-1, 5),
            faces=np.array(faces, np.uint8).reshape(-1, size, size, 3),
            small=0,
            many=0,
        )


def halves(left, right, width=160, height=96):
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2], image[:, width // 2 :] = left, right
    return image


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pictures and a clip of two seconds: the right face comes at 1 s and the left one changes."""
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(halves(80, 240)).save(folder / "two, faces.png")
    Image.fromarray(halves(0, 144)).save(folder / "one.webp", lossless=True)
    Image.fromarray(halves(0, 0)).save(folder / "none.png")
    (folder / "broken.png").write_bytes(b"no picture")
    import imageio_ffmpeg

    writer = imageio_ffmpeg.write_frames(
        str(folder / "clip.webm"), (160, 96), fps=10, codec="libvpx", macro_block_size=2
    )
    writer.send(None)
    for i in range(20):
        writer.send(halves(80, 0) if i < 10 else halves(144, 240))
    writer.close()
    return folder


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture
def page(tab):
    """The page of a server that finds faces, in a window of a desktop."""
    with serving(faces=Bright(), max_pixels=1) as server:
        tab.open("about:blank")
        tab.troubles.clear()
        tab.asked.clear()
        tab.open(f"http://{server.host}/")
        tab.wait("metadata.emotions.length === 8")
        yield tab
        assert tab.troubles == []
        outside = [
            u for u in tab.asked if not u.startswith((f"http://{server.host}/", "blob:", "data:"))
        ]
        assert outside == []


def table(page, folder):
    """The rows of the table as the browser saves it."""
    saved = folder / "neurogaze.csv"
    page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.click("#save")
    for _ in range(200):
        if saved.exists() and saved.stat().st_size:
            break
        page.js("new Promise((done) => setTimeout(done, 50))")
    with saved.open(newline="") as file:
        return list(csv.DictReader(file))


def test_photos_have_numbered_boxes_thumbnails_and_a_table(page, files, tmp_path):
    names = ("two, faces.png", "one.webp", "none.png", "broken.png")
    page.give_files("#file", *(files / name for name in names))
    page.wait(DONE)
    assert page.js("items.map((item) => item.state)") == ["done", "done", "done", "failed"]
    thumbs = page.js("[...$('thumbs').children].map((b) => b.innerText.split('\\n'))")
    assert [words[-1] for words in thumbs] == ["2 faces", "1 face", "0 faces", "failed"]

    # The first is seen, with its boxes where they belong in the picture as it is drawn.
    page.wait("photo.complete && photo.naturalWidth > 0 && $('boxes').children.length === 2")
    page.wait("$('status').innerText.startsWith('face 1: surprise, 100 %')")
    assert page.js("[...$('boxes').children].map((b) => b.innerText)") == ["1", "2"]
    left, top, right, bottom = page.js(
        "(() => { const p = photo.getBoundingClientRect(), b = $('boxes').children[1]"
        ".getBoundingClientRect(); return [(b.left - p.left) / p.width, (b.top - p.top) / p.height,"
        " (b.right - p.left) / p.width, (b.bottom - p.top) / p.height]; })()"
    )
    assert [left, top, right, bottom] == pytest.approx([0.625, 0.25, 0.875, 0.5], abs=0.01)
    page.click("#boxes button:nth-child(2)")
    page.wait("$('status').innerText.startsWith('face 2: contempt, 100 %')")
    assert page.js("document.querySelector('tr.top').innerText").split() == [
        "contempt",
        "100.0",
        "%",
    ]

    page.click("#thumbs button:nth-child(3)")
    page.wait("$('status').innerText === 'No face was found.'")
    assert page.js("$('boxes').children.length") == 0
    page.click("#thumbs button:nth-child(4)")
    page.wait("$('failure').innerText.includes('cannot open')")

    rows = table(page, tmp_path)
    assert [(row["source"], row["face"], row["label"]) for row in rows] == [
        ("two, faces.png", "1", "surprise"),
        ("two, faces.png", "2", "contempt"),
        ("one.webp", "1", "anger"),
        ("none.png", "", ""),
        ("broken.png", "", ""),
    ]
    assert [float(rows[1][edge]) for edge in ("left", "top", "right", "bottom")] == [
        100,
        24,
        140,
        48,
    ]
    assert float(rows[0]["valence"]) == pytest.approx(80 / 255, abs=1e-4)
    assert rows[3]["note"] == "no face found"
    assert "cannot open" in rows[4]["note"]


def test_a_large_photo_is_shrunk_for_the_server_and_its_boxes_are_in_its_own_pixels(page, tmp_path):
    Image.fromarray(halves(80, 240, 1600, 960)).save(tmp_path / "large.png")
    page.give_files("#file", tmp_path / "large.png")
    page.wait(DONE)
    assert page.js("items[0].error || ''") == ""
    boxes = page.js("items[0].frames[0].faces.map((face) => face.box)")
    assert boxes == [
        pytest.approx([200, 240, 600, 480], abs=4),
        pytest.approx([1000, 240, 1400, 480], abs=4),
    ]


def test_a_video_is_read_by_itself_and_its_timeline_follows_the_chosen_face(page, files):
    page.give_files("#file", files / "clip.webm")
    page.wait(DONE)
    assert page.js("items[0].error || ''") == ""
    times = page.js("items[0].frames.map((frame) => frame.time)")
    assert times == pytest.approx(np.arange(10) / 5)
    seen = page.js("items[0].frames.map((f) => f.faces.map((face) => [face.id, face.label]))")
    assert seen[:5] == [[[1, "surprise"]]] * 5
    assert seen[5:] == [[[1, "anger"], [2, "contempt"]]] * 5

    columns = (
        "[...$('areas').children].map((path) => (path.getAttribute('d').match(/M/g) || []).length)"
    )
    assert page.js(columns) == [10] * 8
    page.click("#faces button:nth-child(2)")
    assert page.js(columns) == [5] * 8
    assert page.js("$('status').innerText") == "Face 2 is not seen at this moment."

    page.click("#timeline", 0.75)
    page.wait("!video.seeking && Math.abs(video.currentTime - 1.5) < 0.05")
    page.wait("$('status').innerText.startsWith('face 2: contempt')")
    assert page.js("$('boxes').children.length") == 2
    page.press("Home")  # the click has put the focus there
    page.wait("!video.seeking && video.currentTime < 0.1 && $('boxes').children.length === 1")
    page.press("ArrowRight")
    page.wait("$('timeline').getAttribute('aria-valuenow') === '0.20'")

    page.js("void ($('rate').value = '10', $('rate').onchange())")
    page.wait(f"items[0].rate === 10 && {DONE}")
    assert len(page.js("items[0].frames.map((frame) => frame.time)")) == 20
    page.click("#play")
    page.wait("!video.paused && video.currentTime > 0.3")
    page.click("#play")
    assert page.js("video.paused")


def test_the_camera_is_read_and_ends(page):
    page.click("#camera")
    page.wait("shown && shown.kind === 'camera' && shown.frames.length && view.width > 0")
    assert page.js("$('camera').getAttribute('aria-pressed')") == "true"
    page.click("#camera")
    assert page.js("[stream, shown, $('stage').hidden]") == [None, None, True]


def test_keys_alone_reach_everything(page, files):
    page.give_files("#file", files / "two, faces.png", files / "none.png")
    page.wait(DONE)
    page.js("document.activeElement.blur()")
    reached = []
    for _ in range(16):
        page.press("Tab")
        reached.append(page.js(
            "(() => { const e = document.activeElement; return e.id || e.parentElement.id; })()"
        ))  # fmt: skip
    for name in ("file", "camera", "detect", "boxes", "faces", "thumbs", "save", "clear"):
        assert name in reached, reached
    page.js("$('boxes').children[1].focus()")
    page.press("Enter")
    assert page.js("$('status').innerText").startswith("face 2")
    assert page.js("document.activeElement === $('boxes').children[1]")


def test_without_looking_for_faces_the_whole_picture_is_one_and_it_says_so(page, files, tmp_path):
    page.give_files("#file", files / "two, faces.png")
    page.wait(DONE)
    page.click("#detect")
    page.wait(f"items[0].find === false && {DONE}")
    assert "the whole picture as one face" in page.js("$('status').innerText")
    assert page.js("$('boxes').children.length") == 0
    (row,) = table(page, tmp_path)
    assert row["note"] == "whole picture taken as one face"
    assert row["left"] == ""


def test_a_token_is_asked_for_and_what_waited_goes_on(tab, files):
    with serving(faces=Bright(), token=TOKEN) as server:
        tab.open(f"http://{server.host}/")
        tab.wait("!$('token').hidden")
        tab.give_files("#file", files / "two, faces.png")
        tab.wait("items.length === 1 && items[0].state === 'waiting' && !running")
        tab.js(f"void ($('secret').value = {json.dumps(TOKEN)}, $('secret').onchange())")
        tab.wait(DONE)
        assert tab.js("items[0].frames[0].faces.length") == 2


@pytest.mark.parametrize("name", ["two, faces.png", "clip.webm"])
def test_on_a_phone_nothing_is_wider_than_the_window_and_buttons_fit_a_finger(tab, files, name):
    with serving(faces=Bright()) as server:
        tab.open(f"http://{server.host}/", 390, 844, phone=True)
        tab.wait("metadata.emotions.length === 8")
        tab.give_files("#file", *[files / name] * 8)
        tab.wait(DONE)
        assert tab.js("document.documentElement.scrollWidth") <= 390
        heights = tab.js(
            "[...document.querySelectorAll('button:not(#boxes *), .file, select')]"
            ".map((e) => e.getBoundingClientRect()).filter((r) => r.width).map((r) => r.height)"
        )
        assert len(heights) > 8
        assert min(heights) >= 38
