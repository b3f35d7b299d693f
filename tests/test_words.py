"""The English of the code and the pages is plain: no banned words, no long sentences or lines.

`python tests/test_words.py` lists what is left in the whole tree, and counts it for each part.
"""

from __future__ import annotations

import ast
import io
import itertools
import re
import tokenize
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
# Where the words must be plain.
CHECKED = ["CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md", "docs", "src/kept"]

_END = r"(?=\s*(?:[.,;:)!?]|$))"  # of a clause
# A pattern and what to write instead.
BANNED = [
    (r"\b(tell|tells|telling|told)\b", "report, log, print, notify, say which"),
    (r"\b(go|goes|going|went) on\b", "continue"),
    (r"\b(let|lets|letting) go of\b", "free, release"),
    (r"\b(somebody|nobody|anybody|whoever)\b", "the actor: the function, the user, the writer"),
    (r"\b(is|are|was|were|be) no more\b(?! than)|\bno more" + _END, "missing, no longer"),
    (r"\bany ?more" + _END, "no longer"),
    (
        r"\b(is|are|was|were|be) (not |still |already |no longer )?there" + _END,
        "exists, is missing",
    ),
    (r"\bbut for\b", "except"),
    (r"\bso many\b(?! that)", "up to N, N"),
    (r"\b(has|have|had) (not )?come to\b", "the verb alone"),
    (r"\b(give|gives|gave|giving) way\b", "yield, pause, stop"),
    (r"\bto be had\b", "available"),
    (r"\banew\b", "again"),
    (r"\b(is|are|was|were) due\b(?! to)", "expected, planned"),
    (r"\bapart from\b", "except"),
    (r"\bof the like\b", "the noun"),
]
_BANNED = [(re.compile(pattern, re.IGNORECASE), plain) for pattern, plain in BANNED]
LONGEST_SENTENCE = 40  # words; 25 is the aim
LONGEST_LINE = 100
LONGEST_ENTRY = 25  # words of an entry in the changelog
CHANGELOG_HEADINGS = {"Added", "Changed", "Fixed", "Removed", "Security"}

Place = tuple[str, int, str]  # path, line, what is wrong with it


def files(*parts: str) -> list[Path]:
    """The modules and pages below some files and folders."""
    found = {p for part in parts for p in [ROOT / part, *(ROOT / part).rglob("*")]}
    return sorted(p for p in found if p.suffix in (".py", ".md"))


def checked() -> list[Path]:
    """Return the files that CHECKED names."""
    return files(*CHECKED)


def texts_of_module(source: str) -> Iterator[tuple[int, str]]:
    """Yield comments, docstrings and messages of a module with their lines; no identifiers."""
    yield from comments(source)
    yield from strings(ast.parse(source))


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield the comments of a module; those on lines that follow each other are one."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    for number in found:
        if number - 1 not in found:
            last = next(n for n in itertools.count(number) if n + 1 not in found)
            yield number, " ".join(found[n] for n in range(number, last + 1))


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the texts of more than one word, with an x for each value in an f-string."""
    if isinstance(tree, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "x" for part in tree.values]
        yield tree.lineno, "".join(parts)
    elif isinstance(tree, ast.Constant) and isinstance(tree.value, str) and " " in tree.value:
        yield tree.lineno, tree.value
    else:
        for child in ast.iter_child_nodes(tree):
            yield from strings(child)


def lines_of_page(source: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a page that are no code, in order."""
    is_fenced = False
    for number, line in enumerate(source.splitlines(), 1):
        if line.startswith("```"):
            is_fenced = not is_fenced
        elif not is_fenced and not line.startswith("    "):
            yield number, line


def without_code(text: str) -> str:
    """Replace what is in backticks, and the addresses of links, with one word."""
    return re.sub(r"``[^`]+``|`[^`]+`|(?<=\])\([^)\s]+\)", "x", text)


def banned_words(path: Path) -> Iterator[Place]:
    """Yield each banned word of a file; one may stand at the end of a line and on the next."""
    source = path.read_text()
    if path.suffix == ".py":
        texts = list(texts_of_module(source))
    else:
        texts = [(number, "\n".join(lines)) for number, lines in paragraphs(source)]
    for number, text in texts:
        for pattern, plain in _BANNED:
            plain_text = re.sub(r"\s+", " ", without_code(text))
            for match in pattern.finditer(plain_text):
                around = plain_text[max(match.start() - 20, 0) : match.end() + 20]
                yield name(path), number, f"{match[0]!r} -> {plain}: …{around}…"


def paragraphs(source: str) -> Iterator[tuple[int, list[str]]]:
    """Yield paragraphs, entries of lists, headings and rows of tables, each with its line."""
    found: list[str] = []
    start = 0
    last = 0
    for number, line in [*lines_of_page(source), (-1, "")]:
        is_single = line.startswith(("#", "|", "["))
        is_new = is_single or number != last + 1 or re.match(r"\s*([*-]|\d+\.) ", line)
        if found and (not line.strip() or is_new):
            yield start, found
            found = []
        if line.strip():
            start = start if found else number
            found.append(line)
        if is_single and found:
            yield start, found
            found = []
        last = number


def sentences(source: str) -> Iterator[tuple[int, str]]:
    """Yield the sentences of a page's prose, not of its tables, each with its paragraph's line."""
    for number, lines in paragraphs(source):
        if not lines[0].startswith(("|", "[")):
            text = without_code(" ".join(line.strip() for line in lines))
            for sentence in re.split(r"(?<=[.!?:])[*_)]*\s+", text):
                yield number, sentence


def words(text: str) -> int:
    """How many words a text has."""
    return len(re.findall(r"\w[\w'’./-]*", text))


def long_sentences(path: Path) -> Iterator[Place]:
    """Yield each sentence of a page that is too long."""
    for number, sentence in sentences(path.read_text()) if path.suffix == ".md" else ():
        if words(sentence) > LONGEST_SENTENCE:
            yield name(path), number, f"a sentence of {words(sentence)} words: {sentence}"


def long_lines(path: Path) -> Iterator[Place]:
    """Yield each line of a page that is too long, except tables, and links that are one word."""
    for number, line in lines_of_page(path.read_text()) if path.suffix == ".md" else ():
        is_link = line.startswith("[") and "]: http" in line
        if len(line) > LONGEST_LINE and not line.startswith("|") and not is_link:
            yield name(path), number, f"a line of {len(line)} characters: {line}"


def name(path: Path) -> str:
    """The path as a reader of the project writes it."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("find", [banned_words, long_sentences, long_lines])
def test_the_english_is_plain(find):
    pages = checked()
    assert len(pages) >= len(CHECKED)
    places = [place for path in pages for place in find(path)]
    print(f"{find.__name__}: {len(places)} in {len(pages)} files")
    assert not places, "\n".join(f"{path}:{line}: {what}" for path, line, what in places)


def test_the_changelog_is_short_and_has_the_usual_headings():
    source = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^### (.*)$", source, re.MULTILINE)
    assert headings
    assert set(headings) <= CHANGELOG_HEADINGS
    entries = [" ".join(lines) for _, lines in paragraphs(source) if lines[0].startswith("* ")]
    assert entries
    assert [entry for entry in entries if words(without_code(entry)) > LONGEST_ENTRY] == []


BAD = [
    "It tells the user", "what was told", "training goes on", "it is going\non",
    "lets go of the lock", "if nobody reads it", "Whoever reads it", "x is no more; it was y",
    "not needed any more.",
    "a file that is not there,", "what is there", "all but for one", "so many bytes",
    "has come to it", "it gives way to", "not to be had", "made anew", "20 bytes are due",
    "apart from this",
]  # fmt: skip
GOOD = [
    "The writer reports the error and continues.", "If the file is missing, there is no version.",
    "Is there a newer one?", "There are no more than five files", "but forward", "It is due to X",
    "any more files", "so many that it fails", "`tell` and [x](tell.md)",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize("form", ["{}", '"""{}"""', 'raise E(f"{{x}} and {}")', "# {}"])
def test_banned_words_are_found(tmp_path, monkeypatch, text, form):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / ("page.md" if form == "{}" else "module.py")
    escaped = text if '"""' in form or form == "{}" else text.replace("\n", " ")
    path.write_text(form.format(escaped) + "\n")
    assert len(list(banned_words(path))) == 1


@pytest.mark.parametrize("text", GOOD)
def test_plain_words_are_not_found(tmp_path, monkeypatch, text):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(text)
    (tmp_path / "module.py").write_text(f'"""{text}"""\ntell = told(nobody)  # {text}\n')
    assert [*banned_words(tmp_path / "page.md"), *banned_words(tmp_path / "module.py")] == []


def test_long_sentences_and_lines_are_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    page = tmp_path / "page.md"
    forty, more = " ".join(["word"] * 40), " ".join(["word"] * 41)
    page.write_text(
        f"{forty}. {forty}:\n\n* {forty}\n* {forty}\n\n```\n{more}\n```\n\n| {more} |\n"
    )
    assert list(long_sentences(page)) == []
    page.write_text(f"One.\n\n{more[:50]}\n{more[50:]}\n\n| {more} |\n")
    assert [number for _, number, _ in long_sentences(page)] == [3]
    assert [number for _, number, _ in long_lines(page)] == [4]


def main() -> None:
    """Print what is left in the whole tree, and how much of it is where."""
    everything = files(*CHECKED)
    counts: Counter[str] = Counter()
    for path in everything:
        for find in (banned_words, long_sentences, long_lines):
            for place, number, what in find(path):
                print(f"{place}:{number}: {what}")
                part = place if path.suffix == ".md" else str(Path(place).parent)
                counts[f"{part}: {find.__name__}"] += 1
    print("\n".join(f"{count:4} {part}" for part, count in sorted(counts.items())))
    print(f"{counts.total()} in {len(everything)} files")


if __name__ == "__main__":
    main()
