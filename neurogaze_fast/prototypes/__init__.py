"""The frozen valence/arousal prototype bank."""
