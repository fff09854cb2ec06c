"""The engine's speed and memory beside its peers: `python -m benchmarks` (never part of the tests)."""
