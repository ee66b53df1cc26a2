"""Predict: the classes of single image files, and where in them the model sees the first."""
