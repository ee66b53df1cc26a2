"""Draws a shard folder on one page."""
