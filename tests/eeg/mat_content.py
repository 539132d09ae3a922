"""What a MATLAB file may hold besides DREAMER: a variable of each kind."""

import numpy as np
from scipy.sparse import csc_matrix


def content():
    cell = np.empty((2, 2), object)
    cell[:] = [["text", np.eye(3)], [{"a": 1, "bb": "x"}, np.zeros((2, 0))]]
    return {
        "cell": cell,
        "struct": {"one": np.arange(5, dtype=np.int16), "two": {"three": np.zeros((0, 0))}},
        "unicode": "Zürich 脳",
        "complex": np.array([1 + 2j, 3]),
        "single": np.ones((3, 4, 2), np.float32),
        "yes": True,
        "big": np.array([2**60], np.uint64),
        "sparse": csc_matrix(np.eye(4)),
        "empty": "",
    }
