"""ImageNet training that is the same, sample by sample, on any number of ranks."""
