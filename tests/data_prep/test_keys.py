"""The key rule: unique, ASCII, short, plain where it can be, whatever the order."""

import hashlib
import re

from hypothesis import given
from hypothesis import strategies as st

from data_prep.keys import MAX_KEY, assign_keys
from data_prep.sources.entries import Entries, Entry, pack


def entries(*names: str) -> Entries:
    return pack([Entry(name.split("/")[0], name, 1) for name in names])


def keys_of(listed: Entries) -> list[str]:
    return [key.decode() for key in assign_keys(listed)]


def short_hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def test_a_plain_unique_stem_is_the_key() -> None:
    names = (
        "n01440764/n01440764_10026.JPEG",
        "n01440764/ILSVRC2012_val_00000293.JPEG",
        "b/x-1.png",
    )
    keys = keys_of(entries(*names))
    assert keys == ["n01440764_10026", "ILSVRC2012_val_00000293", "x-1"]


def test_equal_stems_in_two_classes_are_told_apart_by_the_class() -> None:
    assert keys_of(entries("ant/0005.jpg", "bee/0005.jpg")) == ["ant_0005", "bee_0005"]


def test_other_characters_become_underscores() -> None:
    keys = keys_of(entries("tools/carpenter's_kit.JPEG", "tools/v1.2 ü.jpg"))
    assert keys == ["tools_carpenter_s_kit", "tools_v1_2__"]


def test_what_still_collides_gets_a_hash_of_its_name() -> None:
    names = ("a/x y.jpg", "a/x+y.jpg")
    assert keys_of(entries(*names)) == [f"a_x_y_{short_hash(name)}" for name in names]


def test_a_spelled_out_key_never_takes_a_plain_one() -> None:
    names = ("a/x y.jpg", "b/a_x_y.jpg")
    assert keys_of(entries(*names)) == [f"a_x_y_{short_hash(names[0])}", "a_x_y"]


def test_a_hash_that_somebody_is_called_grows() -> None:
    first, second = "a/x y.jpg", "a/x+y.jpg"
    squatter = f"b/a_x_y_{short_hash(first)}.jpg"
    keys = keys_of(entries(first, second, squatter))
    assert keys[2] == f"a_x_y_{short_hash(first)}"
    assert keys[0] == "a_x_y_" + hashlib.sha256(first.encode()).hexdigest()[:16]


def test_long_names_fit_into_a_ustar_header() -> None:
    names = ("a/" + "x" * 96 + ".jpg", "a/" + "y" * 97 + ".jpg", "a/" + "y" * 98 + ".jpg")
    keys = keys_of(entries(*names))
    assert keys[0] == "x" * 96
    assert keys[1] == ("a_" + "y" * 97)[: MAX_KEY - 9] + "_" + short_hash(names[1])
    assert len(set(keys)) == 3


FILE_NAMES = st.text(st.sampled_from("ab.0_ -'é\udcff"), min_size=1, max_size=6).filter(
    lambda text: not text.startswith(".")
)
SPLITS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "a_b", "c'd"]), FILE_NAMES, st.sampled_from(["jpg", "PNG"])
    ),
    unique=True,
    max_size=30,
)


@given(SPLITS, st.randoms())
def test_keys_are_unique_ascii_short_and_free_of_order(files, random) -> None:
    listed = [Entry(folder, f"{folder}/{stem}.{suffix}", 1) for folder, stem, suffix in files]
    keys = dict(zip([entry.name for entry in listed], keys_of(pack(listed)), strict=True))
    assert len(set(keys.values())) == len(listed)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,96}", key) for key in keys.values())
    random.shuffle(listed)
    assert keys == dict(zip([entry.name for entry in listed], keys_of(pack(listed)), strict=True))


@given(SPLITS)
def test_a_plain_stem_that_is_unique_is_kept(files) -> None:
    listed = [Entry(folder, f"{folder}/{stem}.{suffix}", 1) for folder, stem, suffix in files]
    stems = [stem for _, stem, _ in files]
    for stem, key in zip(stems, keys_of(pack(listed)), strict=True):
        if stems.count(stem) == 1 and re.fullmatch("[A-Za-z0-9_-]+", stem):
            assert key == stem
