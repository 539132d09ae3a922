"""The fastest plain ways we know, to measure against."""
