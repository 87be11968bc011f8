"""Results of tests: a diff for the eye, JSON and JUnit for tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
from msgspec import UNSET
from rich.console import Console
from rich.text import Text

from tidings.driver.suite import Result
from tidings.driver.verdict import Mismatch, Shown


def as_text(results: Sequence[Result], console: Console) -> None:
    """Print what failed, with what was expected and what came, and the counts."""
    for result in results:
        if not result.passed:
            head = Text.assemble(("✗ ", "bold red"), (result.name, "bold"))
            head.append(f"  {result.file}:{result.where.line}", style="dim")
            console.print(head)
            step = ""
            for mismatch in result.mismatches:
                if mismatch.step != step:
                    step = mismatch.step
                    console.print(Text(f"  {step}", style="cyan"))
                _print_mismatch(mismatch, console)
            console.print()
    failed = sum(not result.passed for result in results)
    files = len({result.file for result in results})
    count = f"{len(results)} test{'s' * (len(results) != 1)} in {files} file{'s' * (files != 1)}"
    verdict = ("all passed", "green") if not failed else (f"{failed} failed", "bold red")
    console.print(Text.assemble(f"{count}: ", verdict))


def _print_mismatch(mismatch: Mismatch, console: Console) -> None:
    expected, got, marked = mismatch.expected, mismatch.got, mismatch.differing
    if mismatch.unused is not UNSET:
        console.print(_line("unused    ", mismatch.unused, (), "red"))
        return
    if expected is None:
        console.print(_line("unexpected", got or {}, (), "red"))
        return
    if got is None:
        console.print(_line("missing   ", expected, (), "green"))
        return
    console.print(_line("expected  ", expected, marked, "green"))
    console.print(_line("got       ", got, marked, "red"))
    console.print(Text(f"    differs in {', '.join(marked)}", style="dim"))


def _line(word: str, shown: Shown, marked: Sequence[str], style: str) -> Text:
    """One output as it would stand in the file, what differs in colour."""
    line = Text(f"    {word} - {{")
    tops = {name.split(".")[0] for name in marked}
    for number, (name, value) in enumerate(shown.items()):
        chosen = style if not marked or name in tops else ""
        line.append(", " if number else "")
        line.append(f"{name}: {written(value)}", style=chosen)
    return line.append("}")


def written(value: Any) -> str:
    """A value as YAML in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {written(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, str):
        plain = value and all(c.isalnum() or c in "_-.@+" for c in value) and not _typed(value)
        return value if plain else msgspec.json.encode(value).decode()
    return msgspec.json.encode(value).decode()


def _typed(text: str) -> bool:
    """Whether a text would be read as a number or a word of JSON."""
    try:
        float(text)
    except ValueError:
        return text in ("true", "false", "null") or text[0] in "-@"
    return True


def as_json(results: Sequence[Result], problems: Sequence[Mapping[str, Any]]) -> bytes:
    """Everything as one JSON object."""
    return msgspec.json.encode(
        {
            "tests": len(results),
            "failed": sum(not result.passed for result in results),
            "problems": problems,
            "cases": [
                {
                    "file": result.file,
                    "line": result.where.line,
                    "name": result.name,
                    "passed": result.passed,
                    "mismatches": result.mismatches,
                }
                for result in results
            ],
        }
    )


def as_junit(results: Sequence[Result], problems: Sequence[Mapping[str, Any]]) -> bytes:
    """JUnit's XML, as CI servers read it; a problem of a file is an error in it."""
    root = ElementTree.Element("testsuites")
    for file in dict.fromkeys([*(r.file for r in results), *(p["file"] for p in problems)]):
        mine = [result for result in results if result.file == file]
        broken = [problem for problem in problems if problem["file"] == file]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=file,
            tests=str(len(mine) + len(broken)),
            failures=str(sum(not result.passed for result in mine)),
            errors=str(len(broken)),
        )
        for result in mine:
            case = _case(suite, result.name, file, result.where.line)
            if not result.passed:
                text = "\n".join(map(_told, result.mismatches))
                first = _told(result.mismatches[0])
                ElementTree.SubElement(case, "failure", message=first).text = text
        for problem in broken:
            case = _case(suite, str(problem["path"] or problem["code"]), file, problem["line"])
            ElementTree.SubElement(case, "error", message=str(problem["message"]))
    ElementTree.indent(root)
    xml: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return xml


def _case(suite: ElementTree.Element, name: str, file: str, line: int) -> ElementTree.Element:
    stem = Path(file).name.removesuffix(".test.yaml")
    return ElementTree.SubElement(
        suite, "testcase", name=name, classname=stem, file=file, line=str(line)
    )


def _told(mismatch: Mismatch) -> str:
    if mismatch.unused is not UNSET:
        return f"{mismatch.step}: no send came to {written(mismatch.unused)}"
    expected = written(mismatch.expected) if mismatch.expected is not None else "nothing"
    got = written(mismatch.got) if mismatch.got is not None else "nothing"
    return f"{mismatch.step}: expected {expected}, got {got}"
