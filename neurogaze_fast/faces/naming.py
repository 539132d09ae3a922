"""What data sets call the eight emotions and their splits."""

from __future__ import annotations

from neurogaze_fast.emotions import EMOTIONS

ALIASES = {
    "neutrality": "neutral",
    "happy": "happiness",
    "joy": "happiness",
    "surprised": "surprise",
    "sad": "sadness",
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "contemptuous": "contempt",
}
NO_EMOTION = ("none", "uncertain", "non-face", "nonface", "no-face", "unknown", "nf")
"""Labels that say an image has none of the eight emotions: it is left out, and counted."""
SPLIT_WORDS = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation", "publictest"),
    "test": ("test", "testing", "privatetest"),
}


def emotion_named(label: str) -> str | None:
    """The emotion a label names ("Happy", "sadness"), or None. Numbers name none: they mean another
    emotion in every data set."""
    name = label.strip().lower()
    name = ALIASES.get(name, name)
    return name if name in EMOTIONS else None


def names_no_emotion(label: str) -> bool:
    """Whether a label says that there is no emotion to learn ("Uncertain", "Non-Face")."""
    return label.strip().lower().replace(" ", "-").replace("_", "-") in NO_EMOTION


def split_named(word: str) -> str | None:
    """train, valid or test as a table calls them ("Training", "val", "PrivateTest"), or None."""
    name = word.strip().lower()
    return next((split for split, words in SPLIT_WORDS.items() if name in words), None)
