"""Writes a shard folder: checks, tars, indexes and records, each file whole or absent."""
