"""Which layout a source has."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from data_prep.sources import Source, archives, imagefolder, kaggle, parquet, tars
from data_prep.sources.imagefolder import visible
from data_prep.wording import named, printable
from pipeline.errors import UserError

LAYOUTS: dict[str, ModuleType] = {
    module.LAYOUT: module for module in (archives, kaggle, imagefolder, parquet, tars)
}


def open_source(
    path: Path, layout: str | None, split: str | None, classes: Sequence[str] | None
) -> Source:
    """Open SOURCE as ``layout``, or as what it is found to be.

    Raises UserError where it is none of them or several, and what the layout raises.
    """
    if not path.exists():
        raise UserError(
            f"SOURCE={printable(path)} does not exist; name the folder or file with the images"
        )
    found = layout or detect(path)
    return LAYOUTS[found].open_source(path, split, classes)


def detect(path: Path) -> str:
    """The name of the layout. Raises UserError where it is none of them or several."""
    found = [name for name, module in LAYOUTS.items() if module.finds(path)]
    if kaggle.LAYOUT in found and imagefolder.LAYOUT in found:
        found.remove(imagefolder.LAYOUT)  # its train/ is one, its flat val/ is not
    if len(found) > 1:
        raise UserError(
            f"SOURCE={printable(path)} has several layouts: {named(found)}; say which one is meant "
            f"with --layout {found[0]}"
        )
    if found:
        return found[0]
    if imagefolder.could_be(path):
        return imagefolder.LAYOUT
    zips = [path.name] if path.suffix == ".zip" else sorted(p.name for p in path.glob("*.zip"))
    remedy = f"unpack {named(zips)} first" if zips else f"looked for {_looked_for()}"
    raise UserError(
        f"SOURCE={printable(path)} is no layout that is known: it {_contents(path)}; {remedy}"
    )


def _looked_for() -> str:
    return "; ".join(f"{name}: {module.LOOKED_FOR}" for name, module in LAYOUTS.items())


def _contents(path: Path) -> str:
    if path.is_file():
        return "is a file"
    folders, files = visible(path)
    every = [*folders, *files]
    return f"holds {named(every)}" if every else "is empty"
