"""Whether a machine, and the nodes of a job together, have what a training needs."""
