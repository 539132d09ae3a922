"""What a trained model is worth: scores, plots and the one-page report of a run."""
