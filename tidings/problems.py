"""Problems: what is wrong in a file, where, and the likely fix.

Everything that reads what people write (flows, lanes, configuration, expressions) reports here,
and all of it at once. A problem is printed as

    flows/social.yaml:6:36  error[bad-duration]  social.digest.window
      `30 sec` is not a duration
       6 |   - digest: {by: [type], window: 30 sec}
         |                                  ^^^^^^
      hint: did you mean 30s?

Marks carry their source line with them, so a problem can be printed wherever it ends up. This
module is the lowest floor: it imports nothing of Tidings.

    Mark            a place in a file, and how far it reaches
    Place           whatever can say where its n-th character stands (a mark, a YAML scalar)
    SourceText      a `str` that knows its place; what schemas are handed
    ValueProblem    raised by a value's own parser: knows offsets in the value, not the file
    Problem         one of them, whole
    Problems        the collector; raises ProblemsError
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

Severity = Literal["error", "warning"]

SNIPPET_WIDTH = 100


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a file: line and column count characters from 1, `length` is what to underline.

    `source` is the whole source line, without its end; empty where there is none to show.
    """

    file: str
    line: int
    column: int
    length: int = field(default=1, compare=False)
    source: str = field(default="", compare=False, repr=False)

    def at(self, offset: int = 0, length: int | None = None) -> Mark:
        """The place `offset` characters further on the same line."""
        left = max(1, self.length - offset)
        return replace(self, column=self.column + offset, length=left if length is None else length)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Place(Protocol):
    """Whatever can tell where in a file its n-th character was written."""

    def at(self, offset: int = 0, length: int | None = None) -> Mark:
        """The mark of `length` characters from `offset` on; the rest where `length` is None."""
        ...


NOWHERE = Mark("<text>", 1, 1)


class SourceText(str):
    """A text that knows where it was written; everywhere else it is the text itself."""

    __slots__ = ("place", "plain")
    place: Place
    plain: bool

    def __new__(cls, text: str, place: Place, plain: bool = False) -> SourceText:
        """`plain` says that it stood there without quotes."""
        self = super().__new__(cls, text)
        self.place = place
        self.plain = plain
        return self


class ValueProblem(ValueError):
    """A value that is not what its type wants, said in people's words.

    Parsers of single values (durations, expressions) raise it; whoever knows the value's place
    makes a `Problem` of it. `offset` and `length` count characters of the value's text. `loc` leads
    from a value of many parts to the one that is wrong: by keys, and in a list by index or by what
    the item says, as in `("first_of", "fax")`; `"[key]"` at its end is the key itself.
    """

    def __init__(
        self,
        code: str,
        message: str,
        hint: str | None = None,
        *,
        offset: int = 0,
        length: int | None = None,
        loc: Sequence[str | int] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.offset = offset
        self.length = length
        self.loc = tuple(loc)

    def at(self, place: Place, path: str) -> Problem:
        """This problem, placed."""
        return Problem(self.code, self.message, place.at(self.offset, self.length), path, self.hint)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: `path` is the step path, `see` a second place that belongs to it."""

    code: str
    message: str
    where: Mark
    path: str = ""
    hint: str | None = None
    severity: Severity = "error"
    see: Mark | None = None

    def render(self) -> str:
        """The problem as text of several lines, without an end of line at its end."""
        head = f"{self.where}  {self.severity}[{self.code}]"
        lines = [f"{head}  {self.path}" if self.path else head, f"  {self.message}"]
        lines += _snippet(self.where)
        if self.see is not None:
            lines += [f"  see {self.see}", *_snippet(self.see)]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The problem as plain JSON values, for editors and other tools."""
        found: dict[str, Any] = {
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "path": self.path,
            "hint": self.hint,
            **_place_of(self.where),
        }
        if self.see is not None:
            found["see"] = _place_of(self.see)
        return found


class Problems:
    """Collects problems; gives them back by place, each place's same complaint once."""

    def __init__(self, found: Iterable[Problem] = ()) -> None:
        self._found: list[Problem] = []
        for problem in found:
            self.add(problem)

    def add(self, problem: Problem) -> None:
        """Take a problem in; one that says the same of the same place is dropped.

        An aliased map is read once for each alias, and would complain as often.
        """
        if not any(_same_complaint(problem, other) for other in self._found):
            self._found.append(problem)

    def error(
        self,
        code: str,
        message: str,
        where: Mark,
        path: str = "",
        hint: str | None = None,
        see: Mark | None = None,
    ) -> None:
        """Add an error: the file can't be used as it is."""
        self.add(Problem(code, message, where, path, hint, "error", see))

    def warning(
        self,
        code: str,
        message: str,
        where: Mark,
        path: str = "",
        hint: str | None = None,
        see: Mark | None = None,
    ) -> None:
        """Add a warning: it works, and is likely not what was meant."""
        self.add(Problem(code, message, where, path, hint, "warning", see))

    @property
    def errors(self) -> list[Problem]:
        """The errors, by place."""
        return [problem for problem in self if problem.severity == "error"]

    @property
    def warnings(self) -> list[Problem]:
        """The warnings, by place."""
        return [problem for problem in self if problem.severity == "warning"]

    def raise_if_any(self) -> None:
        """Raise `ProblemsError` with all that was found, where one of them is an error."""
        if self.errors:
            raise ProblemsError(self)

    def render(self) -> str:
        """All of them as text, an empty line between two."""
        return "\n\n".join(problem.render() for problem in self)

    def as_dicts(self) -> list[dict[str, Any]]:
        """All of them as plain JSON values."""
        return [problem.as_dict() for problem in self]

    def __iter__(self) -> Iterator[Problem]:
        return iter(sorted(self._found, key=lambda problem: problem.where))

    def __len__(self) -> int:
        return len(self._found)


class ProblemsError(Exception):
    """What was read has errors; `problems` holds all of them, and `str()` prints them."""

    def __init__(self, problems: Problems) -> None:
        super().__init__(problems.render())
        self.problems = problems


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` most likely stands for; None where none is near."""
    by_plain = {_plain(candidate): candidate for candidate in known}
    near = difflib.get_close_matches(_plain(word), by_plain, n=1, cutoff=0.65)
    return by_plain[near[0]] if near else None


def suggestion(word: str, known: Iterable[str]) -> str | None:
    """A hint for an unknown word: the nearest known one, else a list of what there is."""
    choices = list(dict.fromkeys(known))
    near = did_you_mean(word, choices)
    if near is not None:
        return f"did you mean `{near}`?"
    return f"there is {listed(choices)}" if choices else None


def listed(words: Iterable[str], last: str = "and", most: int = 12) -> str:
    """Words as prose: `a`, `b` and `c`; cut with a count where there are too many."""
    shown = [f"`{word}`" for word in words]
    if len(shown) > most:
        shown = [*shown[: most - 1], f"{len(shown) - most + 1} more"]
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} {last} {shown[-1]}"


def _plain(word: str) -> str:
    return word.casefold().replace("-", "_").replace(" ", "_")


def _same_complaint(one: Problem, other: Problem) -> bool:
    return (one.where, one.code, one.message) == (other.where, other.code, other.message)


def _place_of(mark: Mark) -> dict[str, Any]:
    return {"file": mark.file, "line": mark.line, "column": mark.column, "length": mark.length}


def _snippet(mark: Mark) -> list[str]:
    """The source line with carets under the span; a long line is cut to what is around it."""
    if not mark.source.strip():
        return []
    cells = [_cell(character) for character in mark.source]
    start = min(mark.column - 1, len(cells))
    end = min(start + max(1, mark.length), max(len(cells), start + 1))
    first = 0
    if sum(map(_width, cells)) > SNIPPET_WIDTH:
        first = max(0, min(start - SNIPPET_WIDTH // 3, len(cells) - SNIPPET_WIDTH))
    last = min(len(cells), first + SNIPPET_WIDTH)
    end = max(start + 1, min(end, last))
    shown = "".join(cells[first:last])
    before = " " * sum(map(_width, cells[first:start]))
    carets = "^" * max(1, sum(map(_width, cells[start:end])))
    if first:
        shown, before = f"… {shown}", f"  {before}"
    if last < len(cells):
        shown = f"{shown} …"
    return [f"  {mark.line:>4} | {shown}".rstrip(), f"       | {before}{carets}"]


def _cell(character: str) -> str:
    if character == "\t":
        return "    "
    return character if character.isprintable() else "\N{REPLACEMENT CHARACTER}"


def _width(cell: str) -> int:
    """Columns of a terminal that a cell takes."""
    if unicodedata.combining(cell[0]):
        return 0
    return 2 if unicodedata.east_asian_width(cell[0]) in "WF" else len(cell)
