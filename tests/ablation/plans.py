"""A small plan of an ablation, which tests change."""

TEXT = """
title = "A small question"
arms = ["b0", "b3", "va-kernel"]
seeds = 3
banks = 1
train = ["--model", "compact-half", "--epochs", "2"]
equivalence = 0.5
stop = "after the last seed"
[primary]
arm = "b3"
against = "va-kernel"
score = "accuracy"
[[secondary]]
arm = "b3"
against = "b0"
score = "log_loss"
"""
