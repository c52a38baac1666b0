"""The first pass: every file's header, so that mistakes are told before any pixel is decoded."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fedistill.errors import DataError
from fedistill.importing.listing.entries import ListedFile
from fedistill.importing.picture import PictureHeader, Unreadable
from fedistill.importing.preprocessing import Preprocessing
from fedistill.importing.readers import kind_of, reader

DEFAULT_SHARE = 0.01
"""Share of files that may be unreadable unless more is asked for."""

FIRST = 5
"""Files that a message names."""

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Scanned:
    """The files whose headers could be read, and what they say together.

    Args:
        entries: the files, in their order; ``patient`` filled in from DICOM where no table gives one.
        facts: of each.
        kinds: number of files of each kind.
        notes: number of files that each note of a reader applies to.
    """

    entries: Sequence[ListedFile]
    facts: Sequence[PictureHeader]
    kinds: Counter[str]
    notes: Counter[str]


@dataclass
class Bad:
    """The unreadable files so far, and how many are tolerated.

    Args:
        total: number of all files.
        share: that may be unreadable.
        found: name and reason.
    """

    total: int
    share: float
    found: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, why: str) -> None:
        """Count an unreadable file.

        Raises:
            DataError: there are more than is tolerated; the message counts reasons and names the first files.
        """
        self.found.append((name, why))
        if len(self.found) > self.share * self.total:
            reasons = Counter(why for _, why in self.found)
            raise DataError(
                f"More than {self.share:.3g} of {self.total:,} files cannot be read.",
                expected=f"at most {int(self.share * self.total)} unreadable files",
                found="; ".join(f"{n} {why}" for why, n in reasons.most_common(3))
                + f": {', '.join(name for name, _ in self.found[:FIRST])}",
                mend="mend or remove these files; or state with --skip the share that may be left out, such as 0.05",
            )


def scan(entries: Sequence[ListedFile], bad: Bad, on_progress: OnProgress) -> Scanned:
    """Read all headers.

    Raises:
        DataError: too many files cannot be read, or a package that their kind needs is not installed.
    """
    kept: list[ListedFile] = []
    facts: list[PictureHeader] = []
    kinds: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    for number, entry in enumerate(entries):
        on_progress("reading headers", number, len(entries))
        try:
            kind = kind_of(entry.path)
            if not kind:
                raise Unreadable("no image of a kind that is read")
            about = reader(kind).facts(entry.path)
        except Unreadable as error:
            bad.add(entry.name, str(error))
            continue
        except OSError as error:
            bad.add(entry.name, f"cannot be opened ({error.strerror})")
            continue
        kept.append(replace(entry, patient=entry.patient or about.patient))
        facts.append(about)
        kinds[kind] += 1
        notes.update(about.notes)
    on_progress("reading headers", len(entries), len(entries))
    return Scanned(kept, facts, kinds, notes)


def settle(how: Preprocessing, scanned: Scanned) -> Preprocessing:
    """Return the preprocessing with what the headers decide: the one size of pictures, where there is no rule.

    Raises:
        DataError: pictures of several sizes, or that are not square, and no rule.
    """
    if how.fit is not None or not scanned.facts:
        return how
    sizes = Counter((each.width, each.height) for each in scanned.facts)
    (width, height), _ = sizes.most_common(1)[0]
    if len(sizes) > 1 or width != height:
        raise DataError(
            "The pictures differ in size, and no rule says how they become squares."
            if len(sizes) > 1
            else "The pictures are no squares, and no rule says how they become some.",
            expected="--fit crop (the largest square in the middle) or --fit pad (black beside the shorter side)",
            found=", ".join(f"{n:,} of {w} x {h}" for (w, h), n in sizes.most_common(FIRST))
            + (" ..." if len(sizes) > FIRST else ""),
            mend="crop where what matters is in the middle, pad where the margin matters",
        )
    return replace(how, taken=(width, height))


def reader_for(path: Path) -> str:
    """Return the kind of a file that is to be read now.

    Raises:
        Unreadable: it is of no kind that is read.
    """
    kind = kind_of(path)
    if not kind:
        raise Unreadable("no image of a kind that is read")
    return kind
