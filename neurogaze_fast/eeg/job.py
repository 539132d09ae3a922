"""What `prepare eeg` is asked to measure, so that parts of one job are told from parts of another.

A job is a JSON object: the version, the options, the sites, the pieces with their recordings (name,
size, hash of both ends), and the hashes of the tables beside them. It does not say where the data
lie, nor which shard of it is measured, so it is the same on every machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import neurogaze_fast
from neurogaze_fast.artifacts import canonical_json, sha256_bytes, sha256_file
from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.content import file_label, identity, quick_look
from neurogaze_fast.eeg.sources import Sources
from neurogaze_fast.errors import ConfigError, DataError

Job = dict[str, Any]
FIELDS = {
    "version": str,
    "options": dict,
    "band_edges": dict,
    "sites?": list,
    "synthetic": bool,
    "pieces": list,
    "beside": list,
}


def describe(
    config: PrepareEegConfig,
    sources: Sources,
    sites: tuple[str, ...] | None,
    where: dict[str, Path],
) -> Job:
    """The job that the options and the recordings make.

    Args:
        config: the options as they were given.
        sources: what they name.
        sites: that every trial is reduced to; None: as the first one has them.
        where: see :func:`roots`.
    """
    files = dict.fromkeys(file for piece in sources.pieces for file in piece.files)
    looks = {file: [identity(file, where), *quick_look(file)] for file in files}
    return {
        "version": neurogaze_fast.__version__,
        "options": config.settings(),
        "band_edges": {name: list(edges) for name, edges in config.band_edges().items()},
        "sites": None if sites is None else list(sites),
        "synthetic": sources.synthetic,
        "pieces": [
            [piece.name, piece.person, [looks[file] for file in piece.files]]
            for piece in sources.pieces
        ],
        "beside": [
            [identity(path, where), file_label(path), sha256_file(path)]
            for path in dict.fromkeys(sources.beside)
        ],
    }


def job_id(job: Job) -> str:
    """SHA-256 of all that tells a job from another."""
    # Where the data lie on one machine may show in a label; it is no part of the job.
    beside = [[name, sha256] for name, _, sha256 in job["beside"]]
    return sha256_bytes(canonical_json(job | {"beside": beside}))


def roots(config: PrepareEegConfig) -> dict[str, Path]:
    """Option -> the file or folder it names; of --demo, by the options that read its files."""
    recordings = ("dreamer", "mahnob", "recording", "bids", "arrays")
    named = (*recordings, "ratings", "description", "montage")
    given = {name: getattr(config, name) for name in named}
    return {name: Path(path) for name, path in given.items() if path is not None}


def refuse_another(here: Job, there: Job, where: Path, advice: str) -> None:
    """Raise where two jobs differ, with what differs first.

    Raises:
        ConfigError: other options, or another version. DataError: other recordings.
    """
    if job_id(here) == job_id(there):
        return
    if here["version"] != there["version"]:
        raise ConfigError(
            f"{where} was measured by version {there['version']} of neurogaze_fast, and this is "
            f"{here['version']}. {advice}"
        )
    names = [*here["options"], *(name for name in there["options"] if name not in here["options"])]
    for name in names:
        one, other = (job["options"].get(name) for job in (here, there))
        if one != other:
            flag = name.replace("_", "-")
            raise ConfigError(
                f"{where} was measured with other options: --{flag} is {other!r} there and {one!r} "
                f"here. {advice}"
            )
    raise DataError(f"{where} was measured from other data: {_other_data(here, there)}. {advice}")


def _other_data(here: Job, there: Job) -> str:
    """The first thing that is not the same in both."""
    one, other = ({look[0]: look for _, _, looks in job["pieces"] for look in looks}
                  for job in (here, there))  # fmt: skip
    tables = ({name: sha256 for name, _, sha256 in job["beside"]} for job in (here, there))
    for mine, theirs in ((one, other), tuple(tables)):
        for name in dict.fromkeys([*mine, *theirs]):
            if name not in mine or name not in theirs:
                return f"{name} is only {'here' if name in mine else 'there'}"
            if mine[name] != theirs[name]:
                return f"{name} is not the same"
    return "the recordings are divided in another way"
