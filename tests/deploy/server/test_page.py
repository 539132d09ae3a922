"""The web page: one file, closed to everything but this server."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from neurogaze_fast.deploy.server.page import load_page
from tests.deploy.server.server_under_test import serving

PAGE, HEADERS = load_page()
TEXT = PAGE.decode()


class Tags(HTMLParser):
    """Every tag with its attributes, and the text outside scripts and styles."""

    def __init__(self):
        super().__init__()
        self.tags, self.words, self._hidden = [], [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._hidden = tag in ("script", "style")

    def handle_data(self, data):
        if not self._hidden:
            self.words.append(data)


def parsed():
    tags = Tags()
    tags.feed(TEXT)
    return tags


def test_nothing_comes_from_outside_and_nothing_goes_there():
    assert "://" not in TEXT
    assert not re.search(r"<(style|script)></", TEXT)  # its parts are in it
    assert not re.search(r"""["'(]//""", TEXT)
    for tag, attributes in parsed().tags:
        for name in ("src", "href", "action", "srcset"):
            value = attributes.get(name, "#")
            assert value.startswith(("#", "data:,")), (tag, value)
    assert set(re.findall(r'ask\("(/[^"]*)"', TEXT)) == {
        "/v2/models/neurogaze",
        "/predict?detect=",
    }
    assert TEXT.count("fetch(") == 1


def test_the_policy_allows_this_script_and_style_and_nothing_else():
    policy = dict(part.split(" ", 1) for part in HEADERS["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for name in ("base-uri", "form-action", "frame-ancestors"):
        assert policy[name] == "'none'"
    for name in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", policy[name])
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    for tag, attributes in parsed().tags:  # what the hashes do not allow must not be there
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag


def test_the_page_is_served_with_its_policy():
    with serving() as server:
        status, headers, body = server.ask("GET", "/")
    assert (status, body) == (200, PAGE)
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_it_says_the_rules_of_responsible_use_and_when_faces_were_drawn():
    words = " ".join(" ".join(parsed().words).split())
    document = Path(__file__).parents[3] / "RESPONSIBLE_USE.md"
    rules = re.findall(r"^\*\*(.+?)\*\*", document.read_text(), re.MULTILINE)
    assert len(rules) >= 5
    for rule in rules:
        assert rule in words
    assert "DRAWN FACES" in words
    assert any(
        tag == "p" and a.get("id") == "synthetic" and "hidden" in a for tag, a in parsed().tags
    )


# A browser of which every wait ends when the test says so; `drawn` is what is seen.
BROWSER = """
const waits = {}, elements = {}, out = {}, tick = () => new Promise((done) => setTimeout(done));
const wait = (name) => new Promise((done) => { (waits[name] ||= []).push(done); });
const end = async (name, value) => { waits[name].shift()(value); await tick(); await tick(); };
let live = 0;
class Element {
  constructor() { Object.assign(this, { textContent: "", children: [], style: {}, files: [],
    value: "", rows: [], checked: false, hidden: false, drawn: null, videoWidth: 9,
    videoHeight: 9 });
    this.classList = { add() {}, remove() {} }; }
  get firstElementChild() { return this.children[0]; }
  get lastElementChild() { return this.children.at(-1); }
  get tBodies() { return [this]; }
  append(...more) { for (const e of more) {
    e.remove = () => this.children.splice(this.children.indexOf(e), 1);
    e.replaceWith = (other) => { this.children[this.children.indexOf(e)] = other; };
    this.children.push(e); } }
  setAttribute() {} removeAttribute(name) { this[name] = ""; } replaceChildren() {} pause() {}
  load() {} addEventListener() {} play() { return wait("play"); }
  getContext() { return { drawImage: (source) => { this.drawn = source.name || "camera"; } }; }
  toBlob(done) { done({ type: "image/jpeg", size: 1, name: this.drawn }); }
}
globalThis.document = { createElement: () => new Element(), addEventListener() {},
  getElementById: (id) => (elements[id] ||= new Element()) };
const camera = () => { live++; return { getTracks: () => [{ stop() { live--; } }] }; };
Object.defineProperty(globalThis, "navigator", { value: { mediaDevices: {
  getUserMedia: () => wait("camera") } } });
globalThis.URL = { createObjectURL: (file) => file.name, revokeObjectURL() {} };
globalThis.createImageBitmap = (source) => wait(source.name || "frame");
globalThis.requestAnimationFrame = (done) => setTimeout(done);
globalThis.fetch = (path, { body }) => body ? wait("answer " + body.name) : new Promise(() => {});
const reply = (label) => ({ ok: true, status: 200, json: async () => ({ label,
  probabilities: { [label]: 1 }, valence: 0, arousal: 0, latency_ms: 1 }) });
const picture = (name) => ({ name, type: "image/png", size: 1, width: 4, height: 4 });
const choose = (name) => { elements.file.files = [picture(name)]; elements.file.onchange(); };
const click = () => { if (!elements.camera.disabled) { elements.camera.onclick(); } };
const thumb = (i) => elements.thumbs.children[i].onclick();
const state = () => ({ live,
  drawn: elements.photo.hidden ? elements.view.drawn : elements.photo.src,
  says: elements.status.textContent.split(",")[0] });
const now = (name) => { out[name] = state(); };
"""
NOTHING = "\u00a0"
PLAYS = {
    "the first of two photos is answered while the second is seen": (
        """choose("A"); choose("B"); await end("A", picture("A"));
        await end("answer A", reply("a")); now("waiting"); await end("B", picture("B"));
        await end("answer B", reply("b")); now("answered"); thumb(0); now("the first");""",
        {
            "waiting": {"drawn": "B", "live": 0, "says": "..."},
            "answered": {"drawn": "B", "live": 0, "says": "b"},
            "the first": {"drawn": "A", "live": 0, "says": "a"},
        },
    ),
    "a photo that is removed before it opens, and one before it is answered": (
        """choose("A"); elements.clear.onclick(); choose("B"); await end("A", picture("A"));
        now("unopened"); await end("B", picture("B")); elements.clear.onclick(); choose("C");
        await end("answer B", reply("b")); now("unanswered"); await end("C", picture("C"));
        await end("answer C", reply("c")); now("answered");""",
        {
            "unopened": {"drawn": "B", "live": 0, "says": "..."},
            "unanswered": {"drawn": "C", "live": 0, "says": "..."},
            "answered": {"drawn": "C", "live": 0, "says": "c"},
        },
    ),
    "two clicks while the browser asks, and one that ends it": (
        """click(); click(); for (const _ of [...waits.camera]) { await end("camera", camera()); }
        await end("play"); click(); await tick(); now("off");""",
        {"off": {"drawn": None, "live": 0, "says": NOTHING}},
    ),
    "a photo while the browser asks": (
        """click(); choose("A"); await end("A", picture("A")); await end("answer A", reply("a"));
        await end("camera", camera()); if (waits.play) { await end("play"); } now("photo");""",
        {"photo": {"drawn": "A", "live": 0, "says": "a"}},
    ),
    "a photo while a picture of the camera is under way": (
        """click(); await end("camera", camera()); await end("play");
        await end("frame", picture("F"));
        choose("A"); await end("A", picture("A")); await end("answer A", reply("a"));
        await end("answer camera", reply("f")); now("photo");""",
        {"photo": {"drawn": "A", "live": 0, "says": "a"}},
    ),
    "the camera off while its picture is made": (
        """click(); await end("camera", camera()); await end("play"); click(); await tick();
        await end("frame", picture("F")); now("off");
        out.sent = Object.keys(waits).filter((name) => name.startsWith("answer"));""",
        {"off": {"drawn": None, "live": 0, "says": NOTHING}, "sent": []},
    ),
    "the camera on and off": (
        """click(); await end("camera", camera()); await end("play");
        await end("frame", picture("F")); await end("answer camera", reply("f")); now("on");
        click(); await tick(); now("off");""",
        {
            "on": {"drawn": "F", "live": 1, "says": "f"},
            "off": {"drawn": "F", "live": 0, "says": NOTHING},
        },
    ),
}


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("name", PLAYS)
def test_what_is_said_belongs_to_what_is_seen_and_no_camera_stays_on(name):
    steps, expected = PLAYS[name]
    script = re.search(r"<script>(.*)</script>", TEXT, re.DOTALL).group(1)
    play = f"(async () => {{ {steps} console.log(JSON.stringify(out)); process.exit(0); }})();"
    done = subprocess.run(
        ["node", "-"], input=BROWSER + script + play, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == expected
