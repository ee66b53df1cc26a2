"""Looking at jobs and steering them: what Slurm and the run folders say."""
