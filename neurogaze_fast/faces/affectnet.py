"""AffectNet (Mollahosseini et al. 2017) in the forms it is passed on in.

    training.csv, validation.csv     official: subDirectory_filePath,face_x,...,expression,valence,
                                     arousal; images beside them, or in Manually_Annotated_Images
    train_set/, val_set/             images/NNN.jpg with annotations/NNN_exp.npy, _val.npy, _aro.npy
    train/, val/, test/              class folders called by an emotion, or by AffectNet's numbers
    neutral/, happy/, ...            class folders without splits: then they are drawn by image

AffectNet numbers 0 neutral, 1 happy, 2 sad, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt, and
8 none, 9 uncertain, 10 non-face, which are left out and counted. That is not FERPlus's order. Sets
called "AffectNet-mini" have no public definition; what was found is in ``FaceSet.layout``, and what
each label was taken for in ``FaceSet.mapping``: check it where class folders have numbers.

Where the csv gives a face's box and the image is larger, the image is cut to it. The automatically
annotated half is not read: its labels come from another model.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.affectnet_csv import has_csv, read_csv_form
from neurogaze_fast.faces.affectnet_labels import CODES, NO_EMOTION_CODES, code_emotion
from neurogaze_fast.faces.affectnet_npy import has_npy, read_npy_form
from neurogaze_fast.faces.faceset import FaceSet
from neurogaze_fast.faces.folder import (
    has_class_folders,
    has_split_folders,
    read_class_folders,
)
from neurogaze_fast.faces.listed import find_layout, the_one
from neurogaze_fast.faces.naming import emotion_named, names_no_emotion


def is_affectnet(data: Path) -> bool:
    """Whether the official csv files or the npy tree lie in `data` or nearby below it.

    Class folders are not AffectNet's alone, so they do not count.
    """
    return bool(find_layout(data, has_csv) or find_layout(data, has_npy))


def read_affectnet(
    data: Path, side: int | None = None, *, on_conflict: str | None = None
) -> FaceSet:
    """Read AffectNet from `data` in whichever form is there, the first of those above.

    Valence and arousal are kept where they are annotated (NaN where AffectNet says -2).

    Args:
        side: Images are brought to side x side pixels; by default to the larger side of the size
            that most of the first images have.
        on_conflict: Of a face that the csv files list with different labels or splits: ``drop`` all
            of its rows, keep the ``first``, or refuse the set (None).

    Raises:
        DataError: no known form, or a malformed file (names it and the row).
    """
    data = Path(data)
    read_csv = partial(read_csv_form, on_conflict=on_conflict)
    for test, read in ((has_csv, read_csv), (has_npy, read_npy_form)):
        found = find_layout(data, test)
        if found:
            return read(the_one(found, data, "AffectNet"), data, side)
    for has_folders in (has_split_folders, has_class_folders):
        found = find_layout(data, partial(has_folders, naming=_class_named), depth=1)
        if found:
            return read_class_folders(
                the_one(found, data, "class folders"),
                side,
                layout="affectnet class folders",
                naming=_class_named,
                no_emotion=_no_class,
            )
    what = "does not exist"
    if data.is_dir():
        what = f"holds {', '.join(sorted(os.listdir(data))[:8]) or 'nothing'}"
    raise DataError(
        f"{data} {what}. AffectNet is training.csv or validation.csv with their images, train_set/ "
        "and val_set/ with images/ and annotations/, or class folders such as val/happy/*.jpg or "
        "val/1/*.jpg: point --data at the folder that holds them."
    )


def _class_named(folder: str) -> str | None:
    name = folder.strip()
    if name.isascii() and name.isdigit():
        return CODES[int(name)] if int(name) < len(CODES) else None
    return emotion_named(name)


def _no_class(folder: str) -> str | None:
    if names_no_emotion(folder):
        return f"labelled {folder}"
    name = folder.strip()
    code = int(name) if name.isascii() and name.isdigit() else -1
    return code_emotion(code, folder)[1] if code in NO_EMOTION_CODES else None
