"""Which options a run goes on with, by --resume or where torchrun starts its processes again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from neurogaze_fast.errors import ConfigError
from neurogaze_fast.student.config import TrainConfig, train_config_from_json
from neurogaze_fast.training.resume import differing
from neurogaze_fast.training.run_folder import CONFIG_FILE

ON_RESUME = {
    *("resume", "data", "faces", "kd_teacher"),
    *("device", "threads", "log_every", "checkpoint_minutes"),
    *("loader", "workers", "cuda_graph"),
}
"""Options that may differ when a run is continued: where things are, not what is computed."""


def after_restart(config: TrainConfig, environment: Mapping[str, str]) -> TrainConfig:
    """The options to go on with where torchrun has started the processes again after a failure.

    Raises:
        ConfigError: torchrun may restart the run, but could not find its folder again.
    """
    restarts = int(environment.get("TORCHELASTIC_MAX_RESTARTS", 0))
    if config.resume is not None or not restarts:
        return config
    if config.out is None:
        raise ConfigError(
            f"torchrun was given --max-restarts {restarts}, but without --out RUN a restarted "
            "process could not find the run it should continue. Add --out RUN."
        )
    begun = config.out / CONFIG_FILE
    if int(environment.get("TORCHELASTIC_RESTART_COUNT", 0)) == 0 or not begun.exists():
        return config
    recorded = train_config_from_json(begun)
    same = not differing(config, recorded, ON_RESUME | {"out"})
    # Another run's folder is refused now as it was at first.
    return replace(config, resume=config.out) if same else config
