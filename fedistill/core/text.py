"""Text of others (sites, servers, files) made fit to be shown, logged and written: one printable line, no formula."""

import unicodedata

LONGEST = 300
"""Characters that are kept of a text unless more are asked for."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: object, *, most: int = LONGEST) -> str:
    r"""Return a text as one line of printable characters.

    Line ends and other white space become spaces. Control characters, escape sequences' ESC, marks that turn the
    direction of writing and lone surrogates become the replacement character, so that nobody's words can forge a line
    of a log, move a terminal's cursor or read otherwise than they are.

    Args:
        text: anything; its ``str`` is taken.
        most: characters that are kept.

    >>> printable("north\nrun 1: answered\x1b[2J")
    'north run 1: answered\ufffd[2J'
    """
    whole = str(text)[: most + 1].strip().replace("\r\n", "\n")
    line = "".join(" " if each.isspace() else each if _shows(each) else "\N{REPLACEMENT CHARACTER}" for each in whole)
    return line if len(line) <= most else f"{line[:most]}..."


def cell(value: object) -> object:
    """Return a value as a cell of a CSV file that no spreadsheet takes for a formula.

    Text that begins like a formula gets an apostrophe before it. Numbers stay numbers.

    >>> cell("=HYPERLINK(1)"), cell(-0.5), cell("dc")
    ("'=HYPERLINK(1)", -0.5, 'dc')
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _shows(character: str) -> bool:
    return unicodedata.category(character)[0] not in "CZ"
