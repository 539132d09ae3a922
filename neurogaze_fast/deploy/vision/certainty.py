"""How often an answer is right: the model's confidence, corrected by how often it was.

A model's probabilities are fitted to raters' votes, so its best one is a share of raters, and the
most frequent vote is right more often than that. The three constants are a logistic regression on
3,199 faces of FERPlus's valid split that CenterFace found when they were pasted into pictures at 30
to 144 pixels, blurred by 0, 3 and 7 pixels, and tilted by 0 and 30 degrees, with the model inside
the package. On the half of the faces that a fit did not see, the expected calibration error is 2.8
points, against 8.8 of the probability itself. Another model, or other people, need a fit of theirs.
"""

from __future__ import annotations

import numpy as np

from neurogaze_fast.deploy.vision.quality import GOOD_SHARPNESS, Qualities

UNCERTAIN_BELOW = 0.5
"""Below it an answer is called uncertain: of the faces above, 10 % are, and 44 % of their labels
are right; of the others 84 %."""
_SLOPE, _BASE, _BLUR = 1.30, 0.51, 0.19
_LEAST_SHARPNESS = 5e-4


def certainty(confidence: np.ndarray, qualities: Qualities) -> np.ndarray:
    """float64 [n] on [0, 1]: estimated chance that the label is right.

    Args:
        confidence: [n] the best probability of each face.
    """
    p = np.clip(np.asarray(confidence, np.float64), 1e-4, 1 - 1e-4)
    blur = np.log(np.clip(qualities.sharpness, _LEAST_SHARPNESS, GOOD_SHARPNESS) / GOOD_SHARPNESS)
    return 1 / (1 + np.exp(-(_SLOPE * np.log(p / (1 - p)) + _BASE + _BLUR * blur)))
