"""Tests with real models, whose files are fetched once into a cache outside of the repository."""
