"""From image folders to checked, indexed, reproducible WebDataset shards."""
