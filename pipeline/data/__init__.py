"""From shards to micro-batches: order and augmentation are pure, DALI executes them."""
