"""Templates in a folder: one file per template, channel and locale, its parts under headings.

    config/templates/social_digest/push.en.j2
    config/templates/social_digest/push.es.j2
    config/templates/social_digest/email.es-AR.j2
    config/templates/social_digest/tone/bold/push.en.j2

A file reads as what it will say. A line of three dashes and a name starts a part, which goes on to
the next such line; nothing needs quotes or indentation:

    --- title
    {{ actors }} liked your photo
    --- body
    {{ count }} likes in the last minute.

Push takes ``title`` and ``body``; e-mail ``subject``, ``text`` and ``html``; SMS ``body``. What the
parts may say is Jinja, and the business of ``render``. Blank lines around a part do not belong to
it; above the first part there may be comments, lines that start with ``#``.

The text for es-AR is the one for es-AR, else es, else the default locale's. ``_`` is taken for
``-``, and capitals do not matter. A folder below the template's that is named for an experiment,
with one for an arm in it, holds what only people in that arm read: in each locale the arm's text
comes before the one for all, so that nobody reads another language for an experiment's sake.

A version is a hash of the file. Files are looked at once a
second while somebody asks. Not thread-safe.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import structlog
from xxhash import xxh3_64_hexdigest

from tidings.ports import Clock, Template, Unavailable

_LOG = structlog.get_logger(__name__)
_LOOK_EVERY_MS = 1_000
_REMEMBERED = 10_000  # answers; people's locales may be any nonsense
_HEADING = re.compile(r"--- ([a-z][a-z0-9_]*)[ \t]*")
_NAME = re.compile(r"(?P<channel>[a-z0-9_]+)\.(?P<locale>[A-Za-z0-9_-]+)\.j2")

_Key = tuple[str, str, str, str]  # template id, channel, locale in its folded form, variant
_Stamp = tuple[int, int, int]  # inode, size, modified: a file with the same is the same


class FileTemplates:
    """The templates of one folder, e.g. ``config/templates``.

    Raises ValueError at the start, with file and line, for every file that can't be read as one. A
    file that turns wrong later is logged, and its former text goes on.
    """

    def __init__(self, folder: Path, clock: Clock, default_locale: str = "en") -> None:
        self._folder = folder
        self._clock = clock
        self._default = _chain(default_locale)
        self._stamps: dict[Path, _Stamp] = {}
        self._texts: dict[Path, Template] = {}
        self._by_key: dict[_Key, Template] = {}
        self._found: dict[_Key, Template | None] = {}
        problems = self._reload()
        if problems:
            raise ValueError("\n".join(problems))
        self._next_look = clock.now() + _LOOK_EVERY_MS

    def find(
        self, template_id: str, channel: str, locale: str, variant: str = ""
    ) -> Template | None:
        """The best text: the locale, its parents (es-AR → es), then the default locale; in each an
        arm's own before the one for all."""
        now = self._clock.now()
        if now >= self._next_look:
            self._next_look = now + _LOOK_EVERY_MS
            self._look()
        asked = (template_id, channel, locale, variant)
        try:
            return self._found[asked]
        except KeyError:
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            found = self._found[asked] = self._best(*asked)
            return found

    def ids(self) -> Sequence[str]:
        """All template ids, for ``tidings check``."""
        self._look()
        return sorted({template_id for template_id, *_ in self._by_key})

    def texts(self, template_id: str, channel: str) -> Sequence[Template]:
        """All texts of a template on a channel, for ``tidings check``."""
        self._look()
        own = (each for each in self._texts.values() if each.id == template_id)
        return [each for each in own if each.channel == channel]

    def _best(self, template_id: str, channel: str, locale: str, variant: str) -> Template | None:
        for folded in (*_chain(locale), *self._default):
            for arm in (*variant.split(), ""):
                if text := self._by_key.get((template_id, channel, folded, arm)):
                    return text
        return None

    def _look(self) -> None:
        try:
            problems = self._reload()
        except Unavailable as error:
            problems = [str(error)]
        for problem in problems:
            _LOG.error("template not reloaded, its former text stands", error=problem)

    def _reload(self) -> list[str]:
        """Read what has changed; gives the problems of what could not be read."""
        stamps = self._walk()
        if stamps == self._stamps:
            return []
        problems: list[str] = []
        texts: dict[Path, Template] = {}
        for path, stamp in sorted(stamps.items()):
            if path in self._texts:
                texts[path] = self._texts[path]
            if stamp != self._stamps.get(path):
                try:
                    texts[path] = _read(path, self._folder)
                except ValueError as error:
                    problems.append(str(error))
                except OSError as error:
                    problems.append(f"{path}: {error.strerror}")
        self._stamps, self._texts = stamps, texts
        self._by_key = {(t.id, t.channel, _fold(t.locale), t.variant): t for t in texts.values()}
        self._found = {}
        return problems

    def _walk(self) -> dict[Path, _Stamp]:
        if not self._folder.is_dir():
            return {}
        try:
            return {
                Path(file.path): (found.st_ino, found.st_size, found.st_mtime_ns)
                for template in _folders(self._folder)
                for folder in (template, *(a for e in _folders(template) for a in _folders(e)))
                for file in os.scandir(folder)
                if file.name.endswith(".j2")
                for found in [file.stat()]
            }
        except OSError as error:
            raise Unavailable(f"{self._folder} can't be read: {error.strerror}") from error


def _folders(folder: Path | str) -> list[str]:
    return [each.path for each in os.scandir(folder) if each.is_dir()]


def _read(path: Path, root: Path) -> Template:
    name = _NAME.fullmatch(path.name)
    if name is None:
        raise ValueError(f"{path}: a template is called <channel>.<locale>.j2, e.g. push.en.j2")
    content = path.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: this is not UTF-8; save the file as UTF-8") from None
    template_id, *arm = path.parent.relative_to(root).parts
    return Template(
        id=template_id,
        channel=name["channel"],
        locale=name["locale"].replace("_", "-"),
        version=xxh3_64_hexdigest(content),
        parts=_parts(path, text.replace("\r\n", "\n").split("\n")),
        variant=":".join(arm),
    )


def _parts(path: Path, lines: Sequence[str]) -> Mapping[str, str]:
    parts: dict[str, list[str]] = {}
    part: list[str] | None = None
    for number, line in enumerate(lines, 1):
        if heading := _HEADING.fullmatch(line):
            if heading[1] in parts:
                raise ValueError(f"{path}:{number}: the part {heading[1]} is there already")
            part = parts[heading[1]] = []
        elif part is not None:
            part.append(line)
        elif line.strip() and not line.startswith("#"):
            raise ValueError(
                f"{path}:{number}: text before the first part; start with a line like --- title"
            )
    if not parts:
        raise ValueError(f"{path}: no part in it; start with a line like --- title")
    return {name: "\n".join(_trimmed(text)) for name, text in parts.items()}


def _trimmed(lines: Sequence[str]) -> Iterable[str]:
    filled = [number for number, line in enumerate(lines) if line.strip()]
    return lines[filled[0] : filled[-1] + 1] if filled else []


def _chain(locale: str) -> tuple[str, ...]:
    """The locale and its parents, folded: es-AR gives es-ar, es."""
    return tuple(_parents(_fold(locale)))


def _parents(folded: str) -> Iterator[str]:
    while folded:
        yield folded
        folded = folded.rpartition("-")[0]


def _fold(locale: str) -> str:
    return locale.replace("_", "-").lower()
