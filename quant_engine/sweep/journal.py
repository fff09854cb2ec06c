"""What a sweep has finished so far, in a file that only grows: a line for each chunk, with its checksum.

A process may be killed at any byte. A line that is not whole is not there, and what follows the last whole one is cut
off before the next is written. One sweep at a time may write.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from quant_engine.errors import QuantError
from quant_engine.sweep.cells import FAILED, Row
from quant_engine.sweep.plan import Cell, SweepPlan

ENDING = ".journal"


class Journal:
    """The finished cells of one sweep, on disk when `add` returns.

    Attributes:
        rows: what was found of each cell, by tensor and spec. Cells that failed for the machine's sake are not among
            those that an earlier process has left: they are tried again.
        errors: how many of them are errors.
    """

    def __init__(self, file: IO[bytes], plan: SweepPlan, rows: dict[Cell, Row]) -> None:
        """Go on writing where the last whole line ends; `open_journal` makes one."""
        self._file, self.errors = file, 0
        self.rows: dict[Cell, Row] = {}
        self._take(rows.values())
        lines, end = _read(file)
        if not lines:
            file.truncate(0)
            self._write({"plan": plan.record})
            return
        if lines[0].get("plan") != plan.record:
            raise QuantError(
                f"{file.name} is of another sweep: other specs, tensors or contents of the model; give another output, "
                "or delete it"
            )
        kept = {(row["tensor"], row["spec"]): row for line in lines[1:] for row in line["rows"]}
        self._take(row for cell, row in kept.items() if row["error_kind"] != FAILED and cell not in self.rows)
        file.truncate(end)
        file.seek(end)

    def add(self, rows: list[Row]) -> None:
        """Write the rows of a chunk; a cell that is there already is not written twice."""
        new = [row for row in rows if (row["tensor"], row["spec"]) not in self.rows]
        if new:
            self._write({"rows": new})
            self._take(new)

    def _take(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.rows[row["tensor"], row["spec"]] = row
            self.errors += row["error_kind"] != ""

    def _write(self, record: dict[str, Any]) -> None:
        text = json.dumps(record).encode()
        self._file.write(b"%08x %s\n" % (zlib.crc32(text), text))
        self._file.flush()
        os.fsync(self._file.fileno())


def journal_of(out: Path) -> Path:
    """Return where the journal of a result lies until that is written."""
    return out.with_name(f"{out.name}{ENDING}")


@contextmanager
def open_journal(out: Path, plan: SweepPlan, rows: dict[Cell, Row]) -> Iterator[Journal]:
    """Lend the journal of a result, to which `rows` are known already; made where there is none.

    Raises:
        QuantError: for one of another plan, one that another process is writing, and where none can be written.
    """
    path = journal_of(out)
    try:
        with path.open("a+b") as file:
            _lock(file)
            yield Journal(file, plan, rows)
    except OSError as error:
        raise QuantError(f"{path} cannot be written: {error}; give an output in a folder that takes files") from error


def _read(file: IO[bytes]) -> tuple[list[dict[str, Any]], int]:
    """Return the whole lines, and where the last of them ends."""
    found, end = [], 0
    file.seek(0)
    for line in file:
        checksum, _, text = line.rstrip(b"\n").partition(b" ")
        if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
            break
        found.append(json.loads(text))
        end += len(line)
    return found, end


def _lock(file: IO[bytes]) -> None:
    """Hold a file as long as it is open, where the system can.

    Raises:
        QuantError: if another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows, where nobody else is kept out
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise QuantError(f"another process is writing {file.name}; wait for it, or stop it") from error
