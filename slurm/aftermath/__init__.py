"""What follows when the ranks of a job have ended; `python -m slurm.aftermath CODE RUN_FOLDER`."""
