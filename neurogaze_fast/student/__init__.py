"""The vision student: network, objective, schedule, training loop and checkpoints."""
