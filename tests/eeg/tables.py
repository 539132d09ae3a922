"""Writes recordings as the programs of consumer headsets write them, by published examples."""

import json
from datetime import datetime, timedelta

import numpy as np

from tests.eeg.edf_files import SITES

START = 1623658701.491566
EMOTIV_OFFSET = 4200.0


def write_lines(path, lines, end="\n"):
    path.write_text(end.join(lines) + end, encoding="utf-8")
    return path


def kept_rows(count, lost):
    """The numbers of the rows that are written; `lost`: (first, last) of those that are not."""
    return [n for n in range(count) if not any(first <= n < last for first, last in lost)]


def write_emotivpro(
    path, data, sfreq=128, lost=(), *, invented=(), names=SITES, stamps=True, header=None
):
    """CSV of EmotivPRO 3: two lines of header, a counter that begins again every second."""
    first = header or (
        f"title:foo, start timestamp:{START}, stop timestamp:{START}, headset type:EPOCX, "
        f"headset serial:7AEC4253, headset firmware:931, channels:28, "
        f"sampling rate:eeg_{sfreq};mot_64;pow_8, samples:2855 , version:2.1,"
    )
    columns = [
        *(["Timestamp"] if stamps else []),
        *("EEG.Counter", "EEG.Interpolated", *(f"EEG.{name}" for name in names)),
        *("EEG.RawCq", "EEG.Battery", "MarkerIndex", "MarkerType", "EEG.MarkerHardware"),
        *(f"CQ.{name}" for name in names),
        *("CQ.Overall", "EQ.OVERALL", "MOT.AccX"),
        *(f"POW.{name}.Alpha" for name in names),
    ]
    rows = []
    for n in kept_rows(data.shape[1], lost):
        cells = [f"{START + n / sfreq:.6f}"] if stamps else []
        cells += [str(n % sfreq), "1" if n in invented else "0"]
        cells += [f"{value + EMOTIV_OFFSET:.2f}" for value in data[:, n]]
        cells += ["1.0", "4", "", "", "0", *("4" for _ in names), "100", "90", "0.1"]
        rows.append(",".join(cells + ["" if n % 16 else "3.3" for _ in names]))
    return write_lines(path, [first, ",".join(columns), *rows], "\r\n")


def write_testbench(path, data, lost=()):
    """CSV of TestBench: the labels in the first line, a counter of 129 values."""
    labels = " ".join(["COUNTER", "INTERPOLATED", *SITES, "RAW_CQ", "GYROX", "GYROY", "MARKER"])
    first = (
        "title: Demonstration, recorded: 16.09.11 10.40.19, sampling:128, subject:Geoff, "
        f"labels:{labels}, chan:20, units:emotiv"
    )
    rows = [
        ", ".join(
            [str(n % 129), "0"]
            + [f"{value + EMOTIV_OFFSET:.2f}" for value in data[:, n]]
            + ["400", "1", "0", "0"]
        )
        for n in kept_rows(data.shape[1], lost)
    ]
    return write_lines(path, [first, *rows])


def write_channels(path, names, **columns):
    """channels.tsv beside a recording."""
    rows = [["name", *columns]]
    rows += [[name, *(c[n] for c in columns.values())] for n, name in enumerate(names)]
    return write_lines(path, ["\t".join(row) for row in rows])


def write_openbci(path, data, sfreq=250, lost=(), *, burst=10, step=1, pairs=False):
    """TXT of OpenBCI's GUI 5 and 6: the stamps of ten rows are one; `pairs`: the Ganglion's
    counter."""
    count = len(data)
    others = "Accel Channel 0, Accel Channel 1, Accel Channel 2, Not Used, Other, Other, Timestamp,"
    head = [
        "%OpenBCI Raw EXG Data",
        f"%Number of channels = {count}",
        f"%Sample Rate = {sfreq} Hz",
        "%Board = OpenBCI_GUI$BoardCytonSerial",
        "Sample Index, "
        + "".join(f"EXG Channel {n}, " for n in range(count))
        + f"{others} Marker Channel, Timestamp (Formatted)",
    ]
    rows = []
    for n in kept_rows(data.shape[1], lost):
        index = (n // 2) % 100 if pairs else n * step % 256
        stamp = START + (n // burst * burst + burst) / sfreq
        cells = [f"{index}.0", *(f"{value:.6f}" for value in data[:, n])]
        cells += ["0.0", "0.0", "0.0", "192.0", "0.0", "0.0", f"{stamp:.6f}", "0.0"]
        rows.append(", ".join([*cells, f"{datetime.fromtimestamp(stamp):%Y-%m-%d %H:%M:%S.000}"]))
    return write_lines(path, head + rows)


def write_old_openbci(path, data, *, comma=False):
    """TXT of OpenBCI's GUI 2 to 4: no header; numbers as the system's language has them."""
    head = [
        "%OpenBCI Raw EEG Data",
        "%",
        "%Sample Rate = 250.0 Hz",
        "%First Column = SampleIndex",
        "%Last Column = Timestamp",
        "%Other Columns = EEG data in microvolts followed by Accel Data (in G) interleaved with "
        "Aux Data",
    ]
    rows = []
    for n in range(data.shape[1]):
        cells = [f"{value:.2f}" for value in data[:, n]] + ["0.000", "0.468", "-0.062"]
        if comma:
            cells = [cell.replace(".", ",") for cell in cells]
        when = datetime(2020, 1, 1, 23, 59, 50) + timedelta(seconds=n / 250)
        rows.append(
            ", ".join([str(n % 256), *cells, f"{when:%H:%M:%S}.{when.microsecond // 1000:03d}"])
        )
    return write_lines(path, head + rows)


BANDS = [f"{band}_{site}" for band in ("Delta", "Theta", "Alpha", "Beta", "Gamma")
         for site in ("TP9", "AF7", "AF8", "TP10")]  # fmt: skip
RAW = ["RAW_TP9", "RAW_AF7", "RAW_AF8", "RAW_TP10"]
MUSE = ("TP9", "AF7", "AF8", "TP10")


def write_mind_monitor(path, data, lost=(), *, raw=True, rate=256.0, empty=()):
    """CSV of Mind Monitor: rows of a packet of twelve come within a few milliseconds, each packet
    up to 45 ms late; events have rows of their own."""
    late = np.random.default_rng(0).uniform(0, 0.045, data.shape[1] // 12 + 1)
    columns = ["TimeStamp", *BANDS, *(RAW if raw else []), "AUX_RIGHT", "Accelerometer_X"]
    columns += ["HeadBandOn", "HSI_TP9", "HSI_AF7", "HSI_AF8", "HSI_TP10", "Battery", "Elements"]
    start = datetime(2025, 7, 1, 14, 56, 5)
    blank = [""] * (len(columns) - 2)
    rows = [
        ",".join([f"{start:%Y-%m-%d %H:%M:%S}.100", *blank, "/muse/event/connected MuseS-84AC"])
    ]
    for n in kept_rows(data.shape[1], lost):
        packet = n // 12
        after = (packet * 12 + 12) / rate + late[packet] + (n % 12) * 1e-4
        when = start + timedelta(seconds=after)
        stamp = f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03d}"
        if n % 1000 == 500:
            rows.append(",".join([stamp, *blank, "/muse/elements/blink"]))
        cells = [f"{0.5:.6f}" for _ in BANDS]
        if raw:
            cells += ["" if n in empty else f"{value + 800:.6f}" for value in data[:, n]]
        cells += ["820.5", "0.01", "1", "1.0", "1.0", "1.0", "1.0", "85.0", ""]
        rows.append(",".join([stamp, *cells]))
    return write_lines(path, [",".join(columns), *rows])


def write_muselsl(path, data, lost=()):
    """CSV of muselsl: stamps already made regular."""
    rows = [
        ",".join([f"{START + n / 256:.3f}", *(f"{v:.3f}" for v in data[:, n]), "0.000"])
        for n in kept_rows(data.shape[1], lost)
    ]
    return write_lines(path, ["timestamps,TP9,AF7,AF8,TP10,Right AUX", *rows])


GAMEEMO = "AF3 AF4 F3 F4 F7 F8 FC5 FC6 O1 O2 P7 P8 T7 T8".split()


def write_gameemo(path, data):
    """CSV of GAMEEMO: sites in the alphabet's order, a delimiter at the end, no time."""
    order = [SITES.index(site) for site in GAMEEMO]
    rows = [",".join(f"{value:.6f}" for value in data[order, n]) + "," for n in
            range(data.shape[1])]  # fmt: skip
    return write_lines(path, [",".join(GAMEEMO) + ",", *rows])


def write_plain(
    path, data, sfreq=128, *, mark=",", comma=False, time="time (s)", unit=1.0, names=SITES
):
    """Any table with a header."""
    rows = []
    for n in range(data.shape[1]):
        cells = [f"{n / sfreq * unit:.6f}", *(f"{value:.4f}" for value in data[:, n])]
        rows.append(mark.join(cell.replace(".", ",") if comma else cell for cell in cells))
    return write_lines(path, [mark.join([time, *names]), *rows])


def write_rate(path, rate):
    path.write_text(json.dumps({"SamplingFrequency": rate}), encoding="utf-8")
    return path
