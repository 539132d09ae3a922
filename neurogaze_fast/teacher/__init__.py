"""The EEG teacher: topographic maps of band power to an embedding and (valence, arousal)."""
