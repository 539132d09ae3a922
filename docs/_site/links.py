"""A link means the same on the site as in the repository.

Pages of ``docs/`` link to files beside that folder (``../MODEL_CARD.md``). Each file so linked, and
those that it links to in turn, becomes part of the site under ``repository/``, and the links are
turned to where they went. A link to what is not there stays as it is, and the build fails on it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files, InclusionLevel

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = "docs"
PREFIX = "repository"
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")
"""The target of a Markdown link or picture within the repository, without its #anchor."""


def targets(source: str, text: str) -> dict[str, str]:
    """Link as written -> the file it means, from the root, for those that are there."""
    folder = posixpath.dirname(source)
    found = {link: posixpath.normpath(posixpath.join(folder, link)) for link in LINK.findall(text)}
    return {link: name for link, name in found.items() if (ROOT / name).is_file()}


def place_of(name: str) -> str:
    """Where a file of the repository lies on the site."""
    own = name.startswith(f"{DOCS}/")
    return name.removeprefix(f"{DOCS}/") if own else f"{PREFIX}/{name}"


def in_repository(place: str) -> str:
    """The inverse of :func:`place_of`."""
    prefix = f"{PREFIX}/"
    return place.removeprefix(prefix) if place.startswith(prefix) else f"{DOCS}/{place}"


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the files that pages link to outside of docs/, and those that they link to."""
    waiting = [in_repository(file.src_uri) for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        source = waiting.pop()
        for name in targets(source, (ROOT / source).read_text("utf-8")).values():
            if name in seen or name.startswith(f"{DOCS}/"):
                continue
            seen.add(name)
            added = File.generated(config, place_of(name), abs_src_path=str(ROOT / name))
            added.inclusion = InclusionLevel.NOT_IN_NAV
            files.append(added)
            if name.endswith(".md"):
                waiting.append(name)
    return files


def on_page_markdown(text: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of a page to where the files lie on the site."""
    place = page.file.src_uri
    known = targets(in_repository(place), text)

    def turned(match: re.Match[str]) -> str:
        name = known.get(match[1])
        if name is None:
            return match[1]
        return posixpath.relpath(place_of(name), posixpath.dirname(place) or ".")

    return LINK.sub(turned, text)
