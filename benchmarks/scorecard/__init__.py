"""Faults on purpose, counted: what the package withstands, each row with a planted fault it must find."""
