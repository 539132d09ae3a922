"""Synthetic EEG with a forward model, so that every command runs without gated recordings.

**Head.** A homogeneous sphere with 20 radial dipoles below 10-20 sites, at 0.7 of its radius: deep,
because a homogeneous sphere lacks the skull that blurs real potentials. The potential of a radial
dipole on the surface is known in closed form. Each person's dipoles are turned a little.

**Sources.** Each dipole is Gaussian noise with the power spectrum
1/f + theta + alpha + beta + gamma, each rhythm a bell over frequency. Noise of a narrow band waxes
and wanes by itself, over about a second for alpha: these are the smoothly varying envelopes.
Alpha is strongest at the back of the head and has a frequency of its own in every person.

**Valence and arousal** act on the logarithm of the sources' band power, and nowhere else:

* frontal alpha: right minus left grows with valence (frontal alpha asymmetry; Davidson 1992);
* beta and gamma grow with arousal, posterior alpha falls with it.

Their sizes are ours and larger than in people, so that a teacher can learn from a small set;
`strength` scales them and 0 leaves no trace of the ratings. On top come each person's gain and
spectrum, changes from clip to clip that nothing explains, sensor noise, blinks, the amplifier's
offset, and now and then a bad channel. Results made from these recordings say nothing about real
EEG: the writers mark their files, and :func:`is_synthetic` tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurogaze_fast.eeg.montage import named_positions
from neurogaze_fast.eeg.spherical_spline import lift
from neurogaze_fast.errors import ConfigError

MARKER_FILE = "SYNTHETIC.txt"
MARKER = b"SYNTHETIC"
SOURCES = tuple("AF3 F7 F3 FC5 Fz AF4 F8 F4 FC6 C3 Cz C4 T7 T8 P3 Pz P4 O1 Oz O2".split())
DEPTH = 0.7
"""Of the dipoles: distance from the centre over the head's radius."""

_LEFT = np.array([s in ("AF3", "F7", "F3", "FC5") for s in SOURCES])
_RIGHT = np.array([s in ("AF4", "F8", "F4", "FC6") for s in SOURCES])
_BACK = np.array([s in ("P3", "Pz", "P4", "O1", "Oz", "O2") for s in SOURCES])
# Of each rhythm: theta, alpha, beta, gamma.
_CENTRE = np.array([6.0, 10.0, 20.0, 40.0])  # Hz
_WIDTH = np.array([1.2, 1.0, 5.0, 6.0])  # Hz, standard deviation
_HEIGHT = np.array([1.2, 5.0, 0.6, 0.25])  # microvolts^2 / Hz at the dipole
_BACKGROUND, _SLOPE, _CORNER = 12.0, 1.3, 0.7  # microvolts^2 / Hz at 1 Hz; exponent; Hz
_VALENCE_ALPHA, _AROUSAL_BETA, _AROUSAL_GAMMA, _AROUSAL_ALPHA = 1.2, 0.6, 0.7, -0.6
_UNEXPLAINED = 0.3
"""Standard deviation, over clips, of the log power of each rhythm, once for the whole head and once
for each dipole."""

FILMS: tuple[tuple[str, float, float], ...] = (
    ("calmness", 0.35, -0.65),
    ("surprise", 0.15, 0.45),
    ("amusement", 0.75, 0.25),
    ("fear", -0.55, 0.7),
    ("excitement", 0.5, 0.65),
    ("disgust", -0.7, 0.25),
    ("happiness", 0.85, 0.1),
    ("anger", -0.75, 0.55),
    ("sadness", -0.75, -0.3),
)
"""What a film aims at, and the valence and arousal it evokes on average: our choice. Two films per
emotion make DREAMER's eighteen."""


@dataclass(frozen=True, eq=False)
class Person:
    """What stays the same over one person's clips. C channels, S dipoles, four rhythms."""

    leadfield: np.ndarray
    """float32 [C, S]: microvolts at the electrode per microvolt of the dipole."""
    blink: np.ndarray
    """float32 [C]: microvolts of a blink."""
    height: np.ndarray
    """float64 [S, 4]: the rhythms' power, microvolts^2 / Hz."""
    alpha: float
    """Hz: the individual alpha frequency."""
    offset: np.ndarray
    """float32 [C] in [-1, 1]: the electrodes' offset, to be scaled by the amplifier's."""
    bias: np.ndarray
    """float64 [2]: how much more (valence, arousal) than others this person feels."""


def generator(seed: int, *key: int) -> np.random.Generator:
    """Random numbers that depend on the arguments alone, so a larger set begins with the smaller.

    The key is a spawn key: among plain seeds (5, 1) and (5, 1, 0) would be one and the same.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))


def leadfield(sites: np.ndarray, dipoles: np.ndarray, depth: float = DEPTH) -> np.ndarray:
    """float64 [C, S]: potentials of radial dipoles in a homogeneous sphere, largest possible 1.

    With f the depth, x the cosine between site and dipole and d = sqrt(1 + f^2 - 2 f x), the
    surface potential is 2 (x - f) / d^3 + (1 / d - 1) / f, up to the dipole's moment (the sum of
    (2n + 1) f^(n-1) P_n(x)).

    Args:
        sites: unit vectors [C, 3] on the surface.
        dipoles: unit vectors [S, 3].
        depth: f, in (0, 1).
    """
    x = np.clip(sites @ dipoles.T, -1, 1)
    distance = np.sqrt(1 + depth**2 - 2 * depth * x)
    near = 2 * (1 - depth) / (1 - depth) ** 3 + (1 / (1 - depth) - 1) / depth
    return (2 * (x - depth) / distance**3 + (1 / distance - 1) / depth) / near


def draw_person(rng: np.random.Generator, ch_names: tuple[str, ...]) -> Person:
    """A person whose head wears the named sites."""
    sites = lift(named_positions(ch_names))
    dipoles = lift(named_positions(SOURCES)) + 0.05 * rng.standard_normal((len(SOURCES), 3))
    dipoles /= np.linalg.norm(dipoles, axis=1, keepdims=True)
    gain = np.exp(0.2 * rng.standard_normal())
    height = np.tile(_HEIGHT, (len(SOURCES), 1)) * np.exp(0.2 * rng.standard_normal(4))
    height[:, 1] *= np.where(_BACK, 2.0, 0.8)
    height *= np.exp(0.15 * rng.standard_normal(height.shape))
    # Eyes: positive at the front, gone behind the ears.
    forward = lift(named_positions(["Fpz"]))[0] - np.array([0, 0, 0.4])
    angle = np.arccos(np.clip(sites @ forward / np.linalg.norm(forward), -1, 1))
    blink = rng.uniform(60, 130) * np.exp(-((angle / 0.55) ** 2))
    return Person(
        leadfield=(gain * leadfield(sites, dipoles)).astype(np.float32),
        blink=blink.astype(np.float32),
        height=height,
        alpha=float(np.clip(10 + 0.8 * rng.standard_normal(), 8.5, 12)),
        offset=rng.uniform(-1, 1, len(ch_names)).astype(np.float32),
        bias=0.12 * rng.standard_normal(2),
    )


def draw_felt(rng: np.random.Generator, person: Person, film: int) -> np.ndarray:
    """float64 [2] on [-1, 1]: the valence and arousal one person felt during a film."""
    _, valence, arousal = FILMS[film % len(FILMS)]
    noise = 0.3 * rng.standard_normal(2)
    return np.clip(np.array([valence, arousal]) + person.bias + noise, -1, 1)


def rate_felt(rng: np.random.Generator, felt: np.ndarray, low: int, high: int) -> list[int]:
    """Valence and arousal as whole numbers on low..high: what was felt, not quite exactly."""
    middle, half = (low + high) / 2, (high - low) / 2
    shown = felt + 0.1 * rng.standard_normal(2)
    return [int(r) for r in np.clip(np.rint(middle + half * shown), low, high)]


def simulate(
    rng: np.random.Generator,
    person: Person,
    felt: np.ndarray,
    samples: int,
    sfreq: float,
    *,
    strength: float = 1.0,
) -> np.ndarray:
    """EEG of one clip: float32 [C, samples], microvolts, blinks and sensor noise included.

    Args:
        rng: random numbers.
        person: whose.
        felt: [2] valence and arousal on [-1, 1]; zeros at rest.
        samples: T.
        sfreq: sampling frequency, Hz.
        strength: times the effect of `felt`.
    """
    from scipy import fft

    length = fft.next_fast_len(samples + round(sfreq), real=True)
    frequency = fft.rfftfreq(length, 1 / sfreq)
    log_gain = strength * modulation(*felt) + _UNEXPLAINED * rng.standard_normal(4)
    log_gain += _UNEXPLAINED * rng.standard_normal(log_gain.shape)
    centre = _CENTRE + np.array([0, person.alpha - 10, 0, 0])
    bells = np.exp(-0.5 * ((frequency - centre[:, None]) / _WIDTH[:, None]) ** 2)
    power = (person.height * np.exp(log_gain)) @ bells
    power += _BACKGROUND / np.maximum(frequency, _CORNER) ** _SLOPE
    power[:, 0] = 0
    # Var x = sum of power * (sfreq / length): so the amplitude of each complex bin follows.
    scale = np.sqrt(power * (sfreq * length)).astype(np.float32) / 2
    bins = rng.standard_normal((len(SOURCES), 2 * len(frequency)), np.float32).view(np.complex64)
    bins *= scale
    sources = fft.irfft(bins, length, axis=1)[:, :samples]
    signal = person.leadfield @ sources
    signal += rng.standard_normal(signal.shape, np.float32)
    signal += person.blink[:, None] * _blinks(rng, samples, sfreq)
    return signal


def modulation(valence: float, arousal: float) -> np.ndarray:
    """float64 [S, 4]: what valence and arousal add to the log power of each rhythm."""
    log_gain = np.zeros((len(SOURCES), 4))
    log_gain[_RIGHT, 1] += valence * _VALENCE_ALPHA / 2
    log_gain[_LEFT, 1] -= valence * _VALENCE_ALPHA / 2
    log_gain[_BACK, 1] += arousal * _AROUSAL_ALPHA
    log_gain[:, 2] += arousal * _AROUSAL_BETA
    log_gain[:, 3] += arousal * _AROUSAL_GAMMA
    return log_gain


def spoil_channel(rng: np.random.Generator, signal: np.ndarray, probability: float) -> None:
    """With `probability`, make one channel of [C, T] dead or noisy, in place."""
    if rng.random() >= probability:
        return
    channel = rng.integers(len(signal))
    if rng.random() < 0.3:
        signal[channel] = 0
    else:
        signal[channel] += 80 * rng.standard_normal(signal.shape[1], np.float32)


def is_synthetic(path: Path) -> bool:
    """Whether a file or folder was written by this package: by its header, or its marker file."""
    path = Path(path)
    if path.is_dir():
        return (path / MARKER_FILE).exists() or (path.parent / MARKER_FILE).exists()
    try:
        with open(path, "rb") as file:
            return MARKER in file.read(256)
    except OSError:
        return False


def check_demo(seconds: float, strength: float, **counts: int) -> None:
    """Refuse sizes that make no recording.

    Raises:
        ConfigError: `seconds` is not positive, `strength` is negative, or a count is below 1.
    """
    if not (np.isfinite(seconds) and seconds > 0):
        raise ConfigError(f"seconds is {seconds!r}; a clip lasts longer than 0 s.")
    if not (np.isfinite(strength) and strength >= 0):
        raise ConfigError(f"strength is {strength!r}; 0 means no effect, 1 the default.")
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(f"{name} is {count}; give at least 1.")


def _blinks(rng: np.random.Generator, samples: int, sfreq: float) -> np.ndarray:
    """float32 [samples]: bumps of 0.35 s, about one in six seconds, of height near 1."""
    width = round(0.35 * sfreq)
    shape = np.hanning(width + 2)[1:-1].astype(np.float32)
    train = np.zeros(samples + width, np.float32)
    for start in rng.integers(0, samples, rng.poisson(samples / sfreq / 6)):
        train[start : start + width] += shape * rng.uniform(0.7, 1.2)
    return train[:samples]
