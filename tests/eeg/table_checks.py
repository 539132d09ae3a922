"""What tests of tables look at."""

import numpy as np
import pytest

from neurogaze_fast.eeg.edf import UnreadableError
from neurogaze_fast.eeg.files import read_recording
from neurogaze_fast.eeg.open_recording import open_recording
from tests.eeg.trials import noise

HEADER = "file,subject,clip,start_s,end_s,valence,arousal\n"
TWO = (",1,a,0,30,0.5,0", ",1,b,30,60,0,0.5")
SIGNAL = np.rint(noise(0, seconds=60) * 10) / 10
"""What both a table and an EDF of 0.1 microvolts hold exactly."""
MUSE_SIGNAL = noise(2, channels=4, seconds=60, sfreq=256)


def clips(path, *rows):
    table = path.parent / "clips.txt"
    table.write_text(HEADER + "\n".join(rows or TWO))
    return list(read_recording(path, table))


def missing(recording):
    """(first, last) of the samples in each gap of all channels."""
    rate = recording.channels[0].sfreq
    assert all(gap.ch_names is None for gap in recording.gaps)
    return [(round(gap.start * rate), round(gap.end * rate)) for gap in recording.gaps]


def everything(recording):
    return recording.microvolts(list(range(len(recording.channels))), 0, recording.seconds)


def labels(recording):
    return [channel.label for channel in recording.channels]


def reason(path):
    with pytest.raises(UnreadableError) as found:
        open_recording(path)
    return f"{found.value.reason}: {found.value.detail}"
