"""A map set as other libraries take it: a torch Dataset for torcheeg, windows for braindecode."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.eeg.montage import head_info
from neurogaze_fast.errors import ArtifactError, ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd

TARGETS = ("valence", "arousal")
_MICROVOLT = 1e-6

Transform = Callable[..., dict[str, Any]]
"""As torcheeg's: called with eeg= (or y=), and answers a dictionary with that key."""


class MapDataset(Dataset):
    """The rated windows of a map set as torch takes them, with the `info` that torcheeg splits by.

    torcheeg's model_selection copies a dataset and gives the copy the rows of `info` that it keeps;
    this one answers as many windows as its `info` has rows. Of `info`, `subject_id` is the person
    and `trial_id` the film, which has the same name for everybody: KFoldCrossSubject holds people
    out, KFoldCrossTrial films.
    """

    def __init__(
        self,
        maps: MapSet,
        what: Literal["maps", "signals", "power"] = "maps",
        *,
        online_transform: Transform | None = None,
        label_transform: Transform | None = None,
    ) -> None:
        """Look at `maps`; nothing is copied.

        Args:
            maps: unrated windows of it are left out.
            what: maps [F, H, W], signals [C, L] in microvolts, or band power [F, C].
            online_transform: of torcheeg.transforms, on each window.
            label_transform: of torcheeg.transforms, on the window's row of `info`; without it the
                label is float32 [2], (valence, arousal) on [-1, 1].

        Raises:
            ConfigError: `what` is unknown, or pandas is not installed.
            ArtifactError: signals are asked for, and the set has none.
            DataError: no window is rated.
        """
        if what not in ("maps", "signals", "power"):
            raise ConfigError(f"what is {what!r}; it is maps, signals or power.")
        _require_rated(maps)
        self._values = _signals(maps) if what == "signals" else getattr(maps, what)
        self._targets = np.stack([maps.valence, maps.arousal], axis=1)
        self.online_transform, self.label_transform = online_transform, label_transform
        self.info = window_table(maps).loc[maps.labelled].reset_index(drop=True)

    def __len__(self) -> int:
        return len(self.info)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        entry = self.info.iloc[index].to_dict()
        row = int(entry["row"])
        value: Any = self._values[row].astype(np.float32)
        if self.online_transform is None:
            value = torch.from_numpy(value)
        else:
            value = self.online_transform(eeg=value)["eeg"]
        if self.label_transform is None:
            return value, torch.tensor(self._targets[row])
        return value, self.label_transform(y=entry)["y"]


def window_table(maps: MapSet) -> pd.DataFrame:
    """A row a window, named as torcheeg names them; `row` is its place in the set.

    Raises:
        ConfigError: pandas is not installed.
    """
    pd = _pandas()
    # A film that nobody wrote down is a film of its own.
    films = [
        maps.clips[film] if film >= 0 else f"trial-{trial}"
        for film, trial in zip(maps.film.tolist(), maps.trial.tolist(), strict=True)
    ]
    return pd.DataFrame({
        "subject_id": [maps.subjects[i] for i in maps.subject],
        "trial_id": films,
        "clip_id": [f"window-{i}" for i in range(len(maps))],
        "start_at": maps.start,
        "valence": maps.valence,
        "arousal": maps.arousal,
        "row": np.arange(len(maps)),
    })  # fmt: skip


def braindecode_windows(maps: MapSet, targets: Sequence[str] = TARGETS) -> Any:
    """The rated windows as braindecode's BaseConcatDataset, a WindowsDataset for each trial.

    Signals are in volts, as MNE has them; `description` has subject, film and synthetic, which
    ``.split("subject")`` goes by.

    Args:
        maps: prepared with ``--keep-signals``.
        targets: of valence and arousal; a window's y is float32 [len(targets)], so that a network
            of as many outputs can be trained on it by EEGRegressor.

    Raises:
        ConfigError: braindecode is not installed, or a target is unknown.
        ArtifactError: the set has no signals.
        DataError: no window is rated.
    """
    unknown = [name for name in targets if name not in TARGETS]
    if unknown or not targets:
        raise ConfigError(f"targets are {tuple(targets)}; they are some of {TARGETS}.")
    signals = _signals(maps)
    _require_rated(maps)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from braindecode.datasets import BaseConcatDataset, WindowsDataset
    except ImportError as cause:
        raise ConfigError(
            f"Windows for braindecode need braindecode, and it cannot be loaded ({cause}). Run: "
            "pip install 'neurogaze_fast[braindecode]'."
        ) from cause
    import mne

    table, sfreq, length = window_table(maps), maps.sfreq, signals.shape[2]
    info = head_info(maps.names, sfreq)
    parts = []
    for trial in np.unique(maps.trial[maps.labelled]):
        rows = np.flatnonzero(maps.trial == trial)
        rows = rows[np.argsort(maps.start[rows], kind="stable")]
        first = np.round(maps.start[rows] * sfreq).astype(np.int64)
        metadata = table.iloc[rows].reset_index(drop=True)
        metadata["target"] = list(metadata[list(targets)].to_numpy(np.float32, copy=True))
        metadata["i_window_in_trial"] = np.arange(len(rows))
        metadata["i_start_in_trial"], metadata["i_stop_in_trial"] = first, first + length
        epochs = mne.EpochsArray(
            signals[rows].astype(np.float64) * _MICROVOLT,
            info,
            np.stack([first, np.zeros_like(first), np.ones_like(first)], axis=1),
            metadata=metadata,
            verbose="error",
        )
        about = {
            "subject": metadata["subject_id"][0],
            "film": metadata["trial_id"][0],
            "synthetic": maps.synthetic,
        }
        parts.append(WindowsDataset(epochs, about))
    return BaseConcatDataset(parts)


def _signals(maps: MapSet) -> np.ndarray:
    if maps.signals is None:
        raise ArtifactError(
            "These maps were prepared without the windows' signals. Prepare again with "
            "--keep-signals."
        )
    return maps.signals


def _require_rated(maps: MapSet) -> None:
    if not maps.labelled.any():
        raise DataError("No window of these maps is rated, so there is nothing to learn from.")


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as cause:
        raise ConfigError(
            f"A table of windows needs pandas, and it cannot be loaded ({cause}). Run: pip install "
            "pandas."
        ) from cause
    return pandas
