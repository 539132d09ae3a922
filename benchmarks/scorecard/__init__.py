"""Faults on purpose, counted; each row has a planted fault that it must find."""
