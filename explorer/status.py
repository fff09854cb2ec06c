"""What the server holds, in one line."""

from __future__ import annotations

from dataclasses import dataclass

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
        results = self.results
        memory = "" if self.memory_bytes is None else f"memory {self.memory_bytes / MIB:,.0f} MiB · "
        return (
            f"sessions {self.sessions} · {memory}"
            f"results {results.size_bytes / MIB:,.0f} of {results.max_bytes / MIB:,.0f} MiB in {results.results:,}, "
            f"found {results.found:,}, computed {results.computed:,} · "
            f"layer inputs {self.inputs_bytes / MIB:,.0f} of {self.inputs_max / MIB:,.0f} MiB"
        )
