import numpy as np

def parse_fer_rows(
    file: int,
    *,
    start: int,
    size: int,
    columns: int,
    pixels: int,
    emotion: int,
    usage: int,
    threads: int,
    portable: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]: ...
