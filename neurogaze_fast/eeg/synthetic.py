"""Synthetic recordings in the real files' formats, read by the same readers.

The EEG comes from :mod:`~neurogaze_fast.eeg.forward_model`; whatever is made from it says
`synthetic`.
"""

from neurogaze_fast.eeg.forward_model import is_synthetic
from neurogaze_fast.eeg.synthetic_dreamer import write_demo_dreamer
from neurogaze_fast.eeg.synthetic_mahnob import write_demo_mahnob

__all__ = ["is_synthetic", "write_demo_dreamer", "write_demo_mahnob"]
