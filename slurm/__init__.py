"""Submitting and steering jobs."""
