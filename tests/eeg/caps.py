"""Caps that the tests of maps are measured with."""

import mne
import numpy as np

DREAMER = "AF3 F7 F3 FC5 T7 P7 O1 O2 P8 T8 FC6 F4 F8 AF4".split()
BIOSEMI = (
    "Fp1 AF3 F3 F7 FC5 FC1 C3 T7 CP5 CP1 P3 P7 PO3 O1 Oz Pz Fp2 AF4 Fz F4 F8 FC6 FC2 Cz C4 T8 CP6 "
    "CP2 P4 P8 PO4 O2"
).split()


def digitised(names=BIOSEMI, extra=30, seed=0):
    """An Info whose cap was digitised on a head that is no template's, off its origin."""
    generator = np.random.default_rng(seed)
    template = mne.channels.make_standard_montage("colin27_1020").get_positions()["ch_pos"]
    centre = np.mean(list(template.values()), axis=0)
    places = {n: (template[n] - centre) * 0.9 + [0.004, -0.01, 0.045] for n in names}
    places = {n: p + 0.002 * generator.standard_normal(3) for n, p in places.items()}
    shape = generator.standard_normal((extra, 3))
    shape[:, 2] = np.abs(shape[:, 2])
    shape = 0.09 * shape / np.linalg.norm(shape, axis=1, keepdims=True) + [0.003, -0.008, 0.04]
    montage = mne.channels.make_dig_montage(
        places, nasion=[0, 0.09, 0], lpa=[-0.08, 0, 0], rpa=[0.08, 0, 0], hsp=shape,
        coord_frame="head",
    )  # fmt: skip
    info = mne.create_info(list(names), 128.0, "eeg", verbose="error")
    return info.set_montage(montage, verbose="error")
