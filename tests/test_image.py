"""The Dockerfile: what it names is in the repository, and its packages are enough to serve."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from requirements import image

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "Dockerfile").read_text()
TOKEN = "a-token-of-this-test"


def instructions():
    """(name, rest) of each instruction, continued lines joined."""
    lines = [line for line in TEXT.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line]


def of(name):
    return [rest for found, rest in instructions() if found == name]


def test_what_it_copies_is_in_the_repository_and_not_ignored():
    kept = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
    named = [
        source
        for rest in of("COPY")
        if not rest.startswith("--from")
        for source in shlex.split(rest)[:-1]
    ]
    assert "neurogaze_fast" in named
    assert sorted(named) == sorted(kept)
    for source in named:
        assert (ROOT / source).exists(), source
    for script in re.findall(r"python (\S+\.py)", TEXT):
        assert (ROOT / script).is_file()


def test_the_final_stage_has_no_tools_is_no_root_and_is_watched():
    stage = TEXT[TEXT.rindex("\nFROM ") :]
    assert "RUN" not in stage
    assert re.search(r"^USER (\d+):\d+$", stage, re.MULTILINE)[1] != "0"
    assert "/v2/health/ready" in re.search(r"^HEALTHCHECK.*\n.*", stage, re.MULTILINE)[0]
    assert "TOKEN=" not in TEXT
    assert re.fullmatch(r"PYTHON=3\.11\.\d+-slim-\w+", of("ARG")[0])  # as the lock files


@pytest.mark.parametrize("name", image.SETS)
def test_every_package_has_one_version_and_hash(name):
    lines = image.locked(image.SETS[name]).splitlines()
    assert len(lines) == len(set(image.SETS[name]))
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==\S+( --hash=sha256:[0-9a-f]{64})+", line)
    with pytest.raises(SystemExit, match="no-such-package"):
        image.locked(("no-such-package",))


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_hadolint_finds_nothing():
    done = subprocess.run(["hadolint", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


# A Python that has these packages and no others, as the image's has.
ONLY = """
import runpy, sys
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions
allowed = set(sys.argv.pop(1).split(","))
def plain(name): return name.lower().replace("_", "-").replace(".", "-")
hidden = {top for top, names in packages_distributions().items()
          if top != "neurogaze_fast" and not allowed & set(map(plain, names))}
class Seen(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hides = name.partition(".")[0] in hidden
        return None if hides else PathFinder.find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Seen
assert "torch" in hidden
sys.argv[0] = "serve"
runpy.run_module("neurogaze_fast.serve", run_name="__main__")
"""


def test_its_packages_are_enough_to_serve_and_the_health_check_works(tmp_path):
    skimage = pytest.importorskip("skimage.data")
    from PIL import Image

    Image.fromarray(skimage.astronaut()).save(tmp_path / "photo.png")
    entry = json.loads(of("ENTRYPOINT")[0])
    assert entry == ["python", "-m", "neurogaze_fast.serve"]
    options = json.loads(of("CMD")[0])
    command = [sys.executable, "-c", ONLY, ",".join(image.SETS["serve"]), *options]
    environment = os.environ | {"NEUROGAZE_NATIVE": "0", "PYTHONPATH": str(ROOT)}
    environment.pop("NEUROGAZE_TOKEN", None)
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert refused.returncode == 2
    assert "NEUROGAZE_TOKEN" in refused.stderr

    # On a free port, and on this machine only: a test opens nothing to others.
    command = [*command, "--host", "127.0.0.1", "--port", "0", "--grpc-port", "0"]
    command += ["--deadline-s", "60"]
    with subprocess.Popen(
        command, env=environment | {"NEUROGAZE_TOKEN": TOKEN, "PYTHONUNBUFFERED": "1"},
        cwd=tmp_path, stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        try:
            port = next(
                found[1] for line in server.stdout if (found := re.search(r"0\.1:(\d+) ", line))
            )
            check = json.loads(re.search(r"CMD (\[.*urlopen.*\])", TEXT)[1])
            assert check[0] == "python"
            code = check[2].replace("127.0.0.1:8000", f"127.0.0.1:{port}")
            end = time.monotonic() + 60
            while subprocess.run(
                [sys.executable, "-c", code], stderr=subprocess.DEVNULL
            ).returncode:
                assert time.monotonic() < end
            asked = urllib.request.Request(
                f"http://127.0.0.1:{port}/predict", (tmp_path / "photo.png").read_bytes(),
                {"Content-Type": "image/png", "Authorization": f"Bearer {TOKEN}"},
            )  # fmt: skip
            with urllib.request.urlopen(asked, timeout=60) as reply:
                (face,) = json.load(reply)["faces"]
            assert face["label"] == "happiness"
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    assert subprocess.run(check, stderr=subprocess.DEVNULL).returncode != 0
