"""The paper's sizes by name (Table 1): blocks and widths per stage."""

SIZES = {
    "s12": ((2, 2, 6, 2), (64, 128, 320, 512)),
    "s24": ((4, 4, 12, 4), (64, 128, 320, 512)),
    "s36": ((6, 6, 18, 6), (64, 128, 320, 512)),
    "m36": ((6, 6, 18, 6), (96, 192, 384, 768)),
    "m48": ((8, 8, 24, 8), (96, 192, 384, 768)),
}


def name_of(depths: tuple[int, ...], dims: tuple[int, ...]) -> str | None:
    """The size with these blocks and widths, or None."""
    return next((name for name, size in SIZES.items() if size == (depths, dims)), None)
