"""Under which terms a model may be used, in one line that goes wherever the model goes."""

from __future__ import annotations

FERPLUS = (
    "the code is MIT; the weights were learned from FER2013's photographs, collected from the web, "
    "whose owners' licences are unknown: for research, and no judgement of persons"
)
DRAWN = "MIT; the weights were learned from drawn faces, and know nothing of real ones"
OTHERS = (
    "the code is MIT; the terms of the images that the weights were learned from may go with them: "
    "ask their owners, and make no judgement of persons"
)

FERPLUS_AT_LENGTH = (
    "The code is MIT, and we add no restriction on the numbers. FER2013's images were collected "
    "from the web, their owners' licences are unknown, and nobody in them agreed: research use; "
    "any commercial use is the user's own legal review."
)


def licence(data_set: str, synthetic: bool) -> str:
    """The line for a model trained on a set, by its kind (`config.Faces`)."""
    if synthetic:
        return DRAWN
    return FERPLUS if data_set == "ferplus" else OTHERS
