"""What a DALI error says of an image."""


def reason_of(error: RuntimeError) -> str:
    """The sentence of a DALI error that speaks of the image."""
    _, _, cause = str(error).partition("encountered:")
    sentence = next((line.strip() for line in cause.splitlines() if line.strip()), str(error))
    if sentence.startswith("Failed to decode sample"):
        return "DALI fails to decode it: damaged or truncated"
    if sentence.startswith("nvImageCodec failure"):
        return f"DALI does not take it for an image ({sentence})"
    return sentence[:200]
