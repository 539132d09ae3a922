"""Writes AffectNet's official form."""

from tests.faces.encoded_sets import encode, pixels

HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,"
    "valence,arousal"
)


def put(path, image=None, kind="JPEG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(pixels(1, 48) if image is None else image, kind))
    return path


def row(file, code, valence=0.5, arousal=-0.25, box="0,0,48,48"):
    return f"{file},{box},1.5;2;3;4,{code},{valence},{arousal}"


def official(root, rows, name="training.csv", images="Manually_Annotated_Images", header=HEADER):
    """A csv with the images it names (but those called missing)."""
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join([header] * bool(header) + rows) + "\n")
    for number, text in enumerate(rows):
        file = text.split(",")[0].replace("\\", "/")
        if "missing" not in file:
            put(root / images / file, pixels(number, 48))
    return root
