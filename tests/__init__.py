"""Tests and benchmarks; a package, so that no other `tests` on the path comes before it."""
