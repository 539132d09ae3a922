"""The table as Parquet, a block at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from neurogaze_fast.errors import ConfigError

_TEXT = ("source", "label", "smoothed_label")
_WHOLE = ("frame", "face", "id", "uncertain")
_BLOCK = 1 << 20
"""Bytes of the table that are in memory at a time."""


def need_pyarrow() -> None:
    """Say at once what would fail after the work.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    try:
        import pyarrow.csv
        import pyarrow.parquet  # noqa: F401
    except ImportError as cause:
        raise ConfigError(
            "Parquet needs pyarrow. Install it with: pip install 'neurogaze_fast[parquet]', or "
            "take the csv, which holds the same."
        ) from cause


def csv_to_parquet(table: Path, path: Path, columns: Sequence[str]) -> None:
    """Write `path` from the csv `table`; it appears when it is complete.

    Names and labels are text, counts whole numbers, the rest floating point; what is empty in the
    csv is null.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    kinds = {n: pa.string() if n in _TEXT else pa.int64() if n in _WHOLE else pa.float64()
             for n in columns}  # fmt: skip
    options = pyarrow.csv.ConvertOptions(
        column_types=kinds, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    reading = pyarrow.csv.ReadOptions(block_size=_BLOCK)
    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    schema = pa.schema(list(kinds.items()))
    with (
        pyarrow.csv.open_csv(table, reading, parsing, options) as blocks,
        pyarrow.parquet.ParquetWriter(part, schema) as writer,
    ):
        for block in blocks:
            writer.write_batch(block)
    os.replace(part, path)
