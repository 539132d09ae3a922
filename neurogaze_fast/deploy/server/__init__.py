"""Answers over HTTP: requests in, batches through an engine, answers out."""
