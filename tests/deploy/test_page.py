"""The web page: one file, closed to everything but this server."""

import re
from html.parser import HTMLParser
from pathlib import Path

from neurogaze_fast.deploy.page import load_page
from tests.deploy.server_under_test import serving

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
    assert not re.search(r"""["'(]//""", TEXT)
    for tag, attributes in parsed().tags:
        for name in ("src", "href", "action", "srcset"):
            value = attributes.get(name, "#")
            assert value.startswith(("#", "data:,")), (tag, value)
    assert set(re.findall(r'ask\("(/[^"]*)"', TEXT)) == {"/v2/models/neurogaze", "/predict"}
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
    document = Path(__file__).parents[2] / "RESPONSIBLE_USE.md"
    rules = re.findall(r"^\*\*(.+?)\*\*", document.read_text(), re.MULTILINE)
    assert len(rules) >= 5
    for rule in rules:
        assert rule in words
    assert "DRAWN FACES" in words
    assert any(
        tag == "p" and a.get("id") == "synthetic" and "hidden" in a for tag, a in parsed().tags
    )
