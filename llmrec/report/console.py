"""The end of a night on the console: where everything is, and what a few users liked and are recommended."""

from collections.abc import Mapping
from typing import TextIO

from rich.console import Console, Group
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from llmrec.report import words
from llmrec.report.facts import Facts, SampleUser

_WIDEST = 100
_WITHOUT_TERMINAL = 96
_LIKED_SHOWN = 6
_SUGGESTIONS_SHOWN = 5


def print_report(facts: Facts, places: Mapping[str, str], file: TextIO) -> None:
    """Print the summary to ``file``; ``places`` says where each thing is, by name.

    A terminal gets colours; other files get plain text of a fixed width, and only letters that they can hold.
    """
    terminal = Console(file=file, highlight=False, markup=False, emoji=False)
    terminal.width = min(terminal.width, _WIDEST) if terminal.is_terminal else _WITHOUT_TERMINAL
    with terminal.capture() as capture:
        _print_all(terminal, facts, places)
    file.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))
    file.flush()


def _print_all(console: Console, facts: Facts, places: Mapping[str, str]) -> None:
    encoding = console.encoding
    title = _text(f"Recommendations for {words.day(facts.published.run_date)}", encoding, "bold cyan")
    console.print()
    console.print(Rule(title, style="cyan"))
    console.print(_text(words.headline(facts), encoding, "bold"))
    console.print(_findings(facts, encoding))
    for person in facts.samples:
        console.print(_person(person, encoding))
    console.print()
    console.print(Rule(style="cyan", characters="─" if _holds_unicode(encoding) else "-"))
    width = max((len(name) for name in places), default=0)
    for name, place in places.items():
        line = Text.assemble(_text(name.ljust(width + 2), encoding, "dim"), _text(place, encoding))
        console.print(line, soft_wrap=True)  # a path stays whole, so that it can be copied


def _text(text: str, encoding: str, style: str = "") -> Text:
    """Return ``text`` without what could steer the terminal or what ``encoding`` lacks."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return Text(printable.encode(encoding, errors="replace").decode(encoding), style=style)


def _holds_unicode(encoding: str) -> bool:
    return encoding.lower().startswith("utf")


def _findings(facts: Facts, encoding: str) -> Group:
    if facts.evaluation is None:
        return Group(_text("Evaluation has not run yet, so there is no word on quality.", encoding, "dim"))
    quality = words.quality(facts.evaluation)
    lines = ([quality] if quality else []) + words.verdicts(facts.evaluation)
    return Group(
        *(
            Text.assemble(_text(finding, encoding), "  ", _text(evidence, encoding, "dim"))
            for finding, evidence in lines
        )
    )


def _person(person: SampleUser, encoding: str) -> Padding:
    name = f"User {person.user}" + (f", {person.segment}" if person.segment else "")
    titles = (" · " if _holds_unicode(encoding) else "; ").join(person.liked[:_LIKED_SHOWN]) or "nothing so far"
    if len(person.liked) > _LIKED_SHOWN:
        titles += " and more"
    liked = Table.grid(padding=(0, 2, 0, 0))
    liked.add_column(no_wrap=True)
    liked.add_column(overflow="fold")
    liked.add_row(_text("likes", encoding, "dim"), _text(titles, encoding))
    best = Table.grid(padding=(0, 2, 0, 0))
    best.add_column(justify="right", style="dim", width=5)
    best.add_column(justify="right", style="cyan", width=5, no_wrap=True)
    best.add_column(overflow="fold")
    for item in person.suggestions[:_SUGGESTIONS_SHOWN]:
        best.add_row(str(item.rank), words.percent(item.score), _text(item.title, encoding, "bold"))
        if item.reason:
            best.add_row("", "", _text(item.reason, encoding, "dim"))
    rule = Rule(_text(name, encoding, "bold"), align="left", style="dim")
    return Padding(Group(rule, liked, "", best), (1, 0, 0, 0))
