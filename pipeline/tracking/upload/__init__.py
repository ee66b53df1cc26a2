"""From the journal to MLflow: in a process of its own while a run trains, or by ``sync``."""
