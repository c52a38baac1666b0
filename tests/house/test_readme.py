"""The READMEs: their links lead somewhere, they name what there is, and what they tell people to type works."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedistill.cli.main import cli
from fedistill.config import load_plan
from fedistill.methods import METHODS
from fedistill.privacy.policy.rules import SitePolicy
from house.figures import FLOOR, PACKAGE

ROOT = PACKAGE.parent
README = ROOT / "README.md"
METHODS_PAGE = PACKAGE / "methods" / "README.md"
FOLDERS = ("fedistill", "simulations", "sites", "tests")
PAGES = [README, *(page for folder in FOLDERS for page in sorted((ROOT / folder).rglob("*.md")))]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def fences(text: str, language: str = "") -> list[str]:
    """Return the contents of the fenced blocks of a language (of none: all blocks)."""
    return [code for kind, code in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S) if language in ("", kind)]


def prose(text: str) -> str:
    """Return the text without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings: lower case, no punctuation, hyphens for spaces."""
    result: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(text), re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        times = sum(1 for other in result if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other))
        result.add(f"{slug}-{times}" if times else slug)
    return result


def broken(page: Path) -> Iterator[str]:
    """Yield the relative links of a page whose file or heading does not exist."""
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            yield link


@each_page
def test_links_lead_to_files_and_headings(page):
    assert not list(broken(page))


def test_broken_links_are_reported(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b`, c\n## Twice\n## Twice\n[x](#a-b-c) [x](#twice-1) [x](page.md#twice) [x](https://example.org/none)\n"
        "[x](#a-b) [x](#twice-2) [x](gone.md) ![x](gone.png)\n"
        "```\n[x](in-a-fence.md)\n# no heading\n```\n[x](#no-heading)\n"
    )
    assert list(broken(page)) == ["#a-b", "#twice-2", "gone.md", "gone.png", "#no-heading"]


def test_the_readme_has_at_most_200_lines():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("folder", ["simulations", "sites"])
def test_every_toml_file_is_named_in_its_readme(folder):
    text = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    assert not [path.stem for path in (ROOT / folder).glob("*.toml") if f"`{path.stem}`" not in text]


def test_every_method_is_named_in_its_readme():
    text = METHODS_PAGE.read_text(encoding="utf-8")
    assert not [name for name in METHODS if f"`{name}`" not in text]


def rooms_of_the_map(page: Path) -> list[str]:
    """Return the rooms in the first column of a page's table of rooms, from top to bottom."""
    [rows] = re.findall(r"^\| room.*\n\|[-|]+\n((?:\|.*\n)+)", page.read_text(encoding="utf-8"), re.M)
    return [room for row in rows.splitlines() for room in re.findall(r"`([\w.]+/?)`", row.split("|")[1])]


@pytest.mark.parametrize("page", [README, PACKAGE / "README.md"], ids=["README", "fedistill/README"])
def test_every_room_has_a_line_in_the_map_in_the_order_of_floors(page):
    rooms = rooms_of_the_map(page)
    packages = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.name for path in PACKAGE.glob("*.py") if path.name != "__init__.py"}
    assert set(rooms) == packages | modules and len(set(rooms)) == len(rooms)
    floors = [FLOOR[room.removesuffix("/").removesuffix(".py")] for room in rooms]
    assert floors == sorted(floors, reverse=True)


def test_every_closet_is_named_in_the_map_of_the_package():
    rows = (PACKAGE / "README.md").read_text(encoding="utf-8").splitlines()
    for path in PACKAGE.glob("*/*/__init__.py"):
        room, closet = path.parent.parent.name, path.parent.name
        assert any(row.startswith(("| `", "| [`")) and f"`{room}/`" in row and f"`{closet}/`" in row for row in rows)


@each_page
def test_modules_that_are_named_exist(page):
    named = re.findall(r"`([\w./-]+\.py|[\w.-]+/[\w./-]+\.toml)`", prose(page.read_text(encoding="utf-8")))
    bases = (ROOT, page.parent, PACKAGE)
    assert not [name for name in named if not any((base / name).exists() for base in bases)]


@each_page
def test_commands_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    code = "\n".join([*fences(text), *re.findall(r"`([^`]+)`", prose(text))])
    commands = {command.name or command.callback.__name__ for command in cli.registered_commands if command.callback}
    assert set(re.findall(r"^(?:\$ )?fedistill ([a-z]+)\b", code, re.M)) <= commands
    simulations = {path.stem for path in (ROOT / "simulations").glob("*.toml")}
    assert set(re.findall(r"^fedistill (?:run|plan) ([a-z][\w-]*)(?![\w.-])", code, re.M)) <= simulations
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"^make ([a-z-]+)", code, re.M)) <= targets


@each_page
def test_toml_examples_can_be_parsed(page):
    for code in fences(page.read_text(encoding="utf-8"), "toml"):
        tomllib.loads(code)


def test_the_example_of_a_simulation_can_be_read(tmp_path):
    [code] = [code for code in fences(README.read_text(encoding="utf-8"), "toml") if code.startswith("# mine.toml\n")]
    (tmp_path / "mine.toml").write_text(code)
    federation = load_plan(str(tmp_path / "mine.toml")).first.federation
    assert federation.datasets() == [str(tmp_path / "thorax.npz")] and federation.policy.allow_real_images


def test_the_table_of_rules_has_every_rule_with_the_defaults_of_a_hospital():
    text = (ROOT / "sites" / "README.md").read_text(encoding="utf-8")
    assert not [rule for rule in SitePolicy.model_fields if not re.search(rf"`{rule}\b", text)]
    examples = {"epsilon_max", "proximity", "non_private", "allow_real_images"}  # not defaults, and the text says so
    rules = {name: tomllib.loads(f"x = {value}")["x"] for name, value in re.findall(r"`(\w+) = ([^`]+)`", text)}
    floors = {name: value for name, value in rules.items() if name in SitePolicy.model_fields and name not in examples}
    assert len(floors) >= 9 and floors == {name: getattr(SitePolicy(), name) for name in floors}


def method_example() -> str:
    """Return the file of the example of a method."""
    text = METHODS_PAGE.read_text(encoding="utf-8")
    [code] = [code for code in fences(text, "python") if code.startswith("# average.py\n")]
    return code


def test_the_excerpt_of_a_method_is_from_the_whole_example():
    [excerpt] = [code for code in fences(README.read_text(encoding="utf-8"), "python") if "def average" in code]
    assert excerpt in method_example()


@pytest.fixture(scope="module")
def average(tmp_path_factory) -> Path:
    """The folder of the example of a method, with what an installed package would have."""
    text = METHODS_PAGE.read_text(encoding="utf-8")
    [offer] = re.findall(r'```toml\n\[project\.entry-points\."(.*?)"\]\n(.*?)```', text, re.DOTALL)
    folder = tmp_path_factory.mktemp("average")
    (folder / "average.py").write_text(method_example())
    info = folder / "average-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: average\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{offer[0]}]\n{offer[1].replace(chr(34), '')}")
    return folder


def python(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """Run Python in a folder whose packages are installed."""
    here = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": here, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_the_example_in_python_runs(tmp_path):
    """Run the README's calls but for the last, which is the quickstart's minutes."""
    [code] = [code for code in fences(README.read_text(encoding="utf-8"), "python") if "import fedistill" in code]
    *lines, last = code.splitlines()
    assert last == 'rows = fd.run_simulation("quickstart")'
    done = python(tmp_path, "-c", "\n".join(lines))
    assert done.returncode == 0, done.stderr
    assert "auc" in done.stdout.splitlines()[0] and len(done.stdout.splitlines()) == 6, "a row for each of five seeds"


@pytest.mark.slow
def test_the_example_of_a_method_runs(average):
    (average / "alone").mkdir()
    (average / "alone" / "average.py").write_text((average / "average.py").read_text())
    done = python(average / "alone", "average.py")
    assert done.returncode == 0, done.stderr
    scores = dict(line.split() for line in done.stdout.splitlines())
    assert set(scores) == {"random", "average"} and all(0.4 < float(auc) <= 1 for auc in scores.values())
    code = (average / "average.py").read_text().split("if __name__")[0]
    assert len(code.strip().splitlines()) <= 30


@pytest.mark.slow
def test_a_package_brings_its_method_to_a_simulation(average):
    scheme = "scheme={random={}, average={of=3}}"
    changes = ["width=4", "ipc=[1]", "networks=2", "recipe.steps=2", "recipe.lr=0.01", "federation.images=60", scheme]
    words = [word for change in changes for word in ("--set", change)]
    done = python(average, "-m", "fedistill.cli", "run", "quickstart", "--engine", "inline", "--out", "out", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "average" in (average / "out" / "comparison.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("dc", "average:METHOD", "taken"), ("other", "average:AverageSettings", "none"), ("other", "nowhere:X", "loaded")],
)
def test_a_package_that_offers_nonsense_is_named(average, tmp_path, name, value, words):
    info = tmp_path / "odd-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[fedistill.methods]\n{name} = {value}\n")
    (tmp_path / "average.py").write_text((average / "average.py").read_text())
    done = python(
        tmp_path, "-m", "fedistill.cli", "distill", "phantom:breast", "--method", "dm", "--out", "x.safetensors"
    )
    assert done.returncode == 2 and "odd" in done.stderr + done.stdout and words in done.stderr + done.stdout
