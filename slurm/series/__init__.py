"""More than one job: chains of stages, and sweeps as job arrays."""
