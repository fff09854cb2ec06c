"""The results of a sweep as a Parquet file: a row a cell, in the plan's order, with the plan in its metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quant_engine.errors import QuantError
from quant_engine.extras import imported
from quant_engine.files import write_file
from quant_engine.sweep.cells import CELL_COLUMNS, Row

KEY = b"quant_explorer_sweep"
EXTRA = "sweep"
NAMED = ("tensor", "spec", "error_kind", "error")
MAX_CELLS, MAX_BYTES = 2_000_000, 1 << 30


@dataclass(frozen=True)
class SweepTable:
    """The results of a sweep.

    Attributes:
        plan: what they depend on: model, version, specs.
        columns: the values of each column of `CELL_COLUMNS`; None where nothing was found.
    """

    plan: Mapping[str, Any]
    columns: Mapping[str, list[Any]]

    @property
    def record(self) -> str:
        """The plan as it was written."""
        return json.dumps(self.plan, sort_keys=True, separators=(",", ":"))

    def rows(self) -> list[Row]:
        """Return the rows."""
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*self.columns.values(), strict=True)]


def write_sweep(path: Path, record: str, rows: Iterable[Row]) -> None:
    """Write rows as a Parquet file, whole or not at all, over nothing but another sweep's.

    Raises:
        QuantError: without pyarrow, and as `write_file`.
    """
    pa, parquet = imported("pyarrow", EXTRA), imported("pyarrow.parquet", EXTRA)
    content = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(list(rows), _schema(record.encode())), content)
    write_file(path, content.getvalue().to_pybytes(), _is_sweep)


def read_sweep(path: str | os.PathLike[str]) -> SweepTable:
    """Return the results of a file.

    Arrow opens it and reads in this thread: threads of its own that hold a Python file abort a process which ends.

    Raises:
        QuantError: for a file that no sweep has written, and without pyarrow.
    """
    pa, parquet = imported("pyarrow", EXTRA), imported("pyarrow.parquet", EXTRA)
    try:
        with parquet.ParquetFile(os.fspath(path)) as file:
            _validate_size(file.metadata, path)
            table = file.read([*CELL_COLUMNS], use_threads=False).select([*CELL_COLUMNS])
        plan = json.loads((table.schema.metadata or {})[KEY])
        table = table.cast(_schema(b""))
        columns = {name: table[name].to_pylist() for name in CELL_COLUMNS}
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise QuantError(
            f"{path} is no file of results that can be read ({error}); 'quant-explorer sweep MODEL -o "
            "results.parquet' makes one"
        ) from error
    if not isinstance(plan, dict):
        raise QuantError(
            f"{path} was not written by a sweep; 'quant-explorer sweep MODEL -o results.parquet' makes one"
        )
    return SweepTable(plan, columns)


def _schema(record: bytes) -> Any:
    """Return names and types of the columns; a tensor and a spec are always named."""
    pa = imported("pyarrow", EXTRA)
    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    fields = [pa.field(name, types[kind], name not in NAMED) for name, kind in CELL_COLUMNS.items()]
    return pa.schema(fields, metadata={KEY: record})


def _validate_size(about: Any, path: str | os.PathLike[str]) -> None:
    """Check what a table says that it takes before it is read.

    Raises:
        QuantError: for more cells, or bytes of them, than a sweep has.
    """
    size = sum(about.row_group(place).total_byte_size for place in range(about.num_row_groups))
    if about.num_rows > MAX_CELLS or size > MAX_BYTES:
        raise QuantError(
            f"{path} has {about.num_rows:,} cells of {size:,} bytes; at most {MAX_CELLS:,} of {MAX_BYTES:,} are read"
        )


def _is_sweep(path: Path) -> bool:
    try:
        read_sweep(path)
    except QuantError as error:
        raise ValueError(str(error)) from error
    return True
