"""From ImageNet, in whatever form it lies there, to checked, indexed, reproducible shards."""
