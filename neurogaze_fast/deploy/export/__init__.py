"""From a trained student to files that engines run, and the report that they answer alike."""
