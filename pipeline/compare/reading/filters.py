"""The language of ``--filter``: ``train.epochs>=100 and (status=FINISHED or not best_top1<70)``.

    either     = both { "or" both }
    both       = one { "and" one }
    one        = "not" one | "(" either ")" | name operator value
    operator   = "=" | "==" | "!=" | "<" | "<=" | ">" | ">="

A name is a setting, a tag, a result or a metric (its last value). A value is a number, a word in
which * stands for any text and case does not matter, a list such as [pooling, attention], or a
text in quotes, exactly.
"""

import difflib
import fnmatch
import operator
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from pipeline.compare.results import RESULTS
from pipeline.compare.run import Run
from pipeline.errors import UserError

Filter = Callable[[Run], bool]

_IDENTITY: dict[str, Callable[[Run], str | None]] = {
    "name": lambda run: run.name,
    "experiment": lambda run: run.experiment,
    "run_key": lambda run: run.run_key,
    "mlflow_run_id": lambda run: run.mlflow_run_id,
}
_ORDER: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TOKEN = re.compile(
    r"""\s*(?:(?P<paren>[()])|(?P<operator>==|!=|<=|>=|=|<|>)|(?P<quoted>"[^"]*"|'[^']*')"""
    r"""|(?P<list>\[[^\]]*\])|(?P<word>[^\s()=!<>"']+))"""
)
_WORDS = ("and", "or", "not")


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def read_filter(text: str, runs: Sequence[Run]) -> Filter:
    """The filter that a text describes; its names must be known to one of the runs.

    Raises UserError with the place of what is wrong.
    """
    parser = _Parser(text, runs)
    found = parser.either()
    parser.expect_end()
    return found


class _Parser:
    def __init__(self, text: str, runs: Sequence[Run]):
        self._text, self._runs = text, runs
        self._tokens = self._scan()

    def either(self) -> Filter:
        parts = [self._both()]
        while self._take_word("or"):
            parts.append(self._both())
        return lambda run: any(part(run) for part in parts)

    def expect_end(self) -> None:
        if self._next.kind != "end":
            self._fail("expected `and`, `or` or the end", self._next.at)

    def _both(self) -> Filter:
        parts = [self._one()]
        while self._take_word("and"):
            parts.append(self._one())
        return lambda run: all(part(run) for part in parts)

    def _one(self) -> Filter:
        if self._take_word("not"):
            inner = self._one()
            return lambda run: not inner(run)
        if self._next.text == "(" and self._next.kind == "paren":
            opened = self._tokens.pop(0)
            inner = self.either()
            if self._next.text != ")":
                self._fail("this ( is never closed", opened.at)
            self._tokens.pop(0)
            return inner
        return self._comparison()

    def _comparison(self) -> Filter:
        name = self._next
        if name.kind != "word" or name.text in _WORDS:
            self._fail("expected the name of a setting, tag, result or metric", name.at)
        self._tokens.pop(0)
        if self._next.kind != "operator":
            self._fail(f"expected =, !=, <, <=, > or >= after {name.text}", self._next.at)
        sign = self._tokens.pop(0).text
        value = self._next
        if value.kind not in ("word", "list", "quoted") or value.text in _WORDS:
            self._fail(f"expected a value after {name.text}{sign}", value.at)
        self._tokens.pop(0)
        read = self._reader(name)
        if sign in ("=", "==", "!="):
            return _equality(read, value, sign == "!=")
        limit = _number(value.text)
        if limit is None:
            self._fail(f"{sign} needs a number, {value.text} is none", value.at)
        return _inequality(read, _ORDER[sign], limit)

    def _reader(self, name: _Token) -> Callable[[Run], str | float | None]:
        key = name.text
        if key in RESULTS:
            return RESULTS[key]
        if key in _IDENTITY:
            return _IDENTITY[key]
        if not any(key in known for run in self._runs for known in _named(run)):
            self._unknown(name)
        return lambda run: _value(run, key)

    def _unknown(self, name: _Token) -> NoReturn:
        known = dict.fromkeys([*RESULTS, *_IDENTITY])
        for run in self._runs:
            known |= dict.fromkeys(key for names in _named(run) for key in names)
        last = {key.rpartition(".")[2]: key for key in known}
        near = difflib.get_close_matches(name.text, known, n=3, cutoff=0.6) or [
            last[key] for key in difflib.get_close_matches(name.text, last, n=3, cutoff=0.6)
        ]
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        results = f"Results are {', '.join(RESULTS)}"
        self._fail(f"no run has a setting, tag or metric {name.text}; {hint}{results}", name.at)

    @property
    def _next(self) -> _Token:
        return self._tokens[0]

    def _take_word(self, word: str) -> bool:
        if self._next.kind == "word" and self._next.text == word:
            self._tokens.pop(0)
            return True
        return False

    def _scan(self) -> list[_Token]:
        tokens: list[_Token] = []
        at = 0
        while self._text[at:].strip():
            match = _TOKEN.match(self._text, at)
            if match is None or match.lastgroup is None:
                at += len(self._text[at:]) - len(self._text[at:].lstrip())
                self._fail(f"{self._text[at]} has no partner, or no meaning here", at)
            kind = match.lastgroup
            tokens.append(_Token(kind, match[kind], match.start(kind)))
            at = match.end()
        return [*tokens, _Token("end", "", len(self._text))]

    def _fail(self, what: str, at: int) -> NoReturn:
        raise UserError(f"--filter: column {at + 1}: {what}\n  {self._text}\n  {' ' * at}^")


def _named(run: Run) -> tuple[dict[str, str], dict[str, str], dict[str, object]]:
    return run.settings, run.tags, {**run.curves}


def _value(run: Run, key: str) -> str | float | None:
    if key in run.settings:
        return run.settings[key]
    if key in run.tags:
        return run.tags[key]
    return run.curves[key].last if key in run.curves else None


def _equality(read: Callable[[Run], str | float | None], value: _Token, is_negated: bool) -> Filter:
    is_quoted = value.kind == "quoted"
    wanted = value.text[1:-1] if is_quoted else value.text
    number = None if is_quoted else _number(wanted)
    if value.kind == "list":
        wanted = _list_text(wanted)
    # Only the star: lists of settings are written in brackets, which fnmatch would read.
    pattern = None
    if value.kind == "word" and "*" in wanted:
        plain = wanted.replace("[", "[[]").replace("?", "[?]")
        pattern = re.compile(fnmatch.translate(plain), re.IGNORECASE)

    def holds(run: Run) -> bool:
        found = read(run)
        if found is None:
            return is_negated
        if number is not None and (own := _number(str(found))) is not None:
            return (own == number) != is_negated
        if pattern is not None:
            return (pattern.match(str(found)) is not None) != is_negated
        own = str(found)
        is_same = own == wanted if is_quoted else own.casefold() == wanted.casefold()
        return is_same != is_negated

    return holds


def _inequality(
    read: Callable[[Run], str | float | None], order: Callable[[float, float], bool], limit: float
) -> Filter:
    def holds(run: Run) -> bool:
        found = read(run)
        number = None if found is None else _number(str(found))
        return number is not None and order(number, limit)

    return holds


def _list_text(text: str) -> str:
    """Spaced as settings are shown."""
    return f"[{', '.join(part.strip() for part in text[1:-1].split(','))}]"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
