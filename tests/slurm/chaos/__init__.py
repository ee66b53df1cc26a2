"""One training, many faults: it must end, without a person, as if nothing had happened."""
