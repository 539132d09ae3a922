"""Which folders are all the shards of one job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neurogaze_fast.console import counted
from neurogaze_fast.eeg.job import refuse_another
from neurogaze_fast.eeg.journal import FOLDER, JOB_FILE, Journal
from neurogaze_fast.errors import ConfigError


def joinable(parts: Sequence[Path]) -> list[Journal]:
    """The journals of all shards of one job, each once, in order.

    Args:
        parts: the folders that prepare eeg --shard wrote.

    Raises:
        ConfigError: other options or versions, or a shard that is missing, there twice, not
            finished, or was not measured with --shard. DataError: other recordings.
        ArtifactError: a part is no such folder, or damaged.
    """
    if not parts:
        raise ConfigError("There is nothing to join. Name the folders of prepare eeg --shard.")
    journals: dict[int, Journal] = {}
    first: Journal | None = None
    for part in parts:
        journal = Journal.read(part if (part / JOB_FILE).exists() else part / FOLDER)
        if journal.shard is None:
            raise ConfigError(
                f"{part} is a job that stopped and not a shard. Run its command again: it makes "
                "the maps itself."
            )
        number, count = journal.shard
        first = first or journal
        assert first.shard is not None
        advice = f"Measure it again with the options and recordings of {first.folder.parent}."
        refuse_another(first.job, journal.job, part, advice)
        if count != first.shard[1]:
            raise ConfigError(
                f"{part} is shard {journal.told}, and {first.folder.parent} is {first.told}: join "
                "the shards of one division."
            )
        if number in journals:
            raise ConfigError(
                f"Shard {journal.told} is there twice: {journals[number].folder.parent} and "
                f"{part}. Leave one out."
            )
        journals[number] = journal
    assert first is not None
    assert first.shard is not None
    count = first.shard[1]
    missing = [f"{number}/{count}" for number in range(1, count + 1) if number not in journals]
    if missing:
        several = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ConfigError(
            f"Shard {missing[0]}{several} is missing. Name the folders of all {count}: prepare eeg "
            f"--shard {missing[0]} makes that one."
        )
    for journal in journals.values():
        of, done = len(journal.mine), len(journal.done())
        if done < of:
            raise ConfigError(
                f"Shard {journal.told} in {journal.folder.parent} is not finished: {done} of "
                f"{counted(of, 'part')} of its recordings. Run its command again: it goes on."
            )
    return [journals[number] for number in sorted(journals)]
