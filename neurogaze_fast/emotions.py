"""The eight emotions, their one order, and where they lie on the valence/arousal plane."""

EMOTIONS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)
"""FERPlus order: the only order used inside the package. It travels with every artifact."""

VALENCE_AROUSAL = {
    "neutral": (-0.03, -0.02),
    "happiness": (0.67, 0.08),
    "surprise": (0.18, 0.70),
    "sadness": (-0.63, -0.27),
    "anger": (-0.43, 0.55),
    "disgust": (-0.68, 0.45),
    "fear": (-0.12, 0.76),
    "contempt": (-0.51, 0.58),
}
"""(valence, arousal) on [-1, 1]^2: means of AffectNet's validation annotations (Mollahosseini et
al. 2017). NeuroGaze-Distill does not print its own coordinates, so this choice is ours."""

HIGH_VALENCE = ("happiness", "surprise")
"""The classes D-Geo caps (``positive_classes`` of the authors' configuration)."""


def high_valence_indices() -> tuple[int, ...]:
    """Class indices of :data:`HIGH_VALENCE`."""
    return tuple(EMOTIONS.index(name) for name in HIGH_VALENCE)
