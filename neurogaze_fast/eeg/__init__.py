"""EEG: from electrode values to topographic maps."""
