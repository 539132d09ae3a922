"""What both trainers use: checkpoints, guard, optimiser, schedule, run folder, resume."""
