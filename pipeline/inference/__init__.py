"""A trained model from wherever it lies: trained.py finds it, model.py loads it."""
