"""Face data: readers for each layout, the demo set, and the loaders that feed training."""
