"""Which runs are meant, and what folders or an MLflow store say of them."""
