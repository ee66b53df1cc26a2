"""Evaluation: scores.py during a training, __main__.py for runs and files of weights."""
