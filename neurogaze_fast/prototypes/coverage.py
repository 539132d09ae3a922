"""How a bank covers the valence/arousal grid, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neurogaze_fast.prototypes.build import RATING_LEVELS, reachable

if TYPE_CHECKING:
    from neurogaze_fast.eeg.maps import MapSet
    from neurogaze_fast.prototypes.bank import PrototypeBank


def coverage_lines(bank: PrototypeBank, maps: MapSet, rows: np.ndarray, *, by: str) -> str:
    """What the printed summary says of a bank made from `rows` of `maps`.

    Args:
        rows: int64 [n], the windows averaged.
        by: "rating" or "prediction". A rating can only take the levels of its source's scale (for
            a source without a known scale: the values seen); a prediction can be anything.
    """
    cells = bank.grid**2
    can = np.ones(cells, bool)
    if by == "rating":
        can[:] = False
        source = np.array([name.split("-")[0] for name in maps.subjects])[maps.subject[rows]]
        for name in np.unique(source):
            chosen = rows[source == name]
            seen = np.unique(maps.valence[chosen]), np.unique(maps.arousal[chosen])
            levels = RATING_LEVELS.get(str(name))
            valence, arousal = (levels, levels) if levels is not None else seen
            can |= reachable(valence, arousal, bank.grid)
    filled = bank.filled
    cosine = bank.prototypes.astype(np.float64) @ bank.prototypes.T
    apart = cosine[~filled][:, ~filled][np.triu_indices(int(np.count_nonzero(~filled)), 1)]
    alike = f"; mean cosine between them {apart.mean():.2f}" if len(apart) else ""
    kind = "[yellow]made from synthetic recordings[/]\n" if bank.synthetic else ""
    return (
        f"{kind}{np.count_nonzero(~filled)} of {cells} cells have their own prototype"
        f"{alike}; {np.count_nonzero(filled)} were filled from the nearest\n"
        f"{np.count_nonzero(can)} of {cells} cells can be reached by a {by} at all"
    )
