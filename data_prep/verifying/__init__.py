"""Reads a shard folder as a stranger would, names what is broken, and repairs it."""
