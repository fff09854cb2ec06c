"""What the server holds, in one line."""

from __future__ import annotations

from dataclasses import dataclass

from explorer.language import read_words
from explorer.notation import count
from quant_engine.caches import Usage

MIB = 1 << 20


@dataclass(frozen=True)
class Status:
    """Sessions that have come and not gone, and bytes: of the process, of results, of layer inputs."""

    sessions: int
    memory_bytes: int | None
    results: Usage
    inputs_bytes: int
    inputs_max: int

    def __str__(self) -> str:
        """Return the line."""
        said, results = read_words("frame")["status"], self.results
        memory = None if self.memory_bytes is None else self.memory_bytes / MIB
        return str(
            said["line"].format(
                sessions=self.sessions,
                memory="" if memory is None else said["memory"].format(size=f"{memory:,.0f}"),
                size=f"{results.size_bytes / MIB:,.0f}",
                max=f"{results.max_bytes / MIB:,.0f}",
                results=count(results.results),
                found=count(results.found),
                computed=count(results.computed),
                inputs=f"{self.inputs_bytes / MIB:,.0f}",
                inputs_max=f"{self.inputs_max / MIB:,.0f}",
            )
        )
