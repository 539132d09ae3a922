"""Videos of every kind, made by ffmpeg."""

import subprocess

from neurogaze_fast.deploy.vision.ffmpeg import ffmpeg


def film(path, *options, size="64x48", fps=25, seconds=4):
    """A moving test picture; `options` come after the input and before the file."""
    source = f"testsrc=s={size}:r={fps}:d={seconds}"
    make(path, "-f", "lavfi", "-i", source, *(options or ("-c:v", "libx264")))
    return path


def make(path, *options):
    """What ffmpeg makes of these options."""
    subprocess.run([ffmpeg(), "-v", "error", "-y", *options, f"file:{path}"], check=True)
    return path


def cut(path, part):
    """A copy that ends after `part` of the file."""
    data = path.read_bytes()
    short = path.with_name("cut-" + path.name)
    short.write_bytes(data[: int(part * len(data))])
    return short
