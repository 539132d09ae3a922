"""EEG: from recordings, or anything in memory, to topographic maps.

In Python: :func:`topomaps`, :func:`band_power` and :func:`plot_topomaps` take mne.io.Raw, Epochs,
Evoked, arrays and lists (docs/eeg.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurogaze_fast.eeg.in_memory import (
        BandPower,
        TopoMaps,
        band_power,
        plot_topomaps,
        topomaps,
    )

__all__ = ["BandPower", "TopoMaps", "band_power", "plot_topomaps", "topomaps"]


def __getattr__(name: str) -> Any:
    # Torch is loaded with them, which --help must not wait for.
    if name in __all__:
        from neurogaze_fast.eeg import in_memory as functions

        return getattr(functions, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
