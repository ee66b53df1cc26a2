"""From flags, config and site profile to a checked job that Slurm or this machine has."""
