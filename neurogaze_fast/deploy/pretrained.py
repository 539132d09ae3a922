"""Where the weights of a name lie: a folder, or a repository of the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

from neurogaze_fast.errors import CheckpointError, ConfigError

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FILES = ("*.safetensors", "*.json", "README.md", "export/*")
"""All that is fetched: no code."""


def find_pretrained(name: str | Path, revision: str | None = None) -> Path:
    """The folder or file of a name; OWNER/NAME is fetched where no such folder is here.

    What was fetched before is used again without a network.

    Raises:
        ConfigError: huggingface_hub is needed and not installed.
        CheckpointError: there is neither a folder nor such a repository, or no way to it.
    """
    path = Path(name)
    if path.exists():
        return path
    text = str(name)
    if not _REPOSITORY.fullmatch(text):
        raise CheckpointError(
            f"{text} does not exist here, and is no OWNER/NAME of the Hugging Face Hub either. "
            "Name a folder that holds a model, or leave the name out for the model inside the "
            "package."
        )
    try:
        import huggingface_hub
    except ImportError as cause:
        raise ConfigError(
            f"{text} does not exist here, and looking for it on the Hugging Face Hub needs a "
            "package that is not installed: `pip install 'neurogaze_fast[hub]'`. A folder, or the "
            "model inside the package, needs none."
        ) from cause
    try:
        found = huggingface_hub.snapshot_download(
            text, revision=revision, allow_patterns=list(FILES)
        )
    except Exception as cause:  # of the network, the Hub and its client: each version has its own
        said = " ".join(str(cause).split())[:200]
        raise CheckpointError(
            f"{text} does not exist here, and could not be fetched from the Hugging Face Hub "
            f"({type(cause).__name__}: {said}). Check the name and the network; or copy the folder "
            "here and name it: a folder, or the model inside the package, needs no network."
        ) from cause
    return Path(found)
