"""Runs to groups of seeds, and whether groups differ by more than noise."""
