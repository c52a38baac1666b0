"""Figures of the house: lines by room, arrows between closets, names and docstrings.

``PYTHONPATH=tests python -m house [PACKAGE]`` prints them; ``test_house.py`` holds some of them.
"""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "fedistill"

# From the top floor to the ground. A room's row is that of its longest name here: `study.tables` is not on `study`'s.
ROWS = """
cli
app
report
api export
study.feasibility
study
study.forecast study.tables
study.orchestrator
study.audit
study.preflight study.folder study.timing
schemes
schemes.base
schemes.server schemes.site
transport.server
transport
transport.deploy
transport.site
transport.backend
transport.protocol
transport.flower_internals
consent
config
privacy
privacy.policy
privacy.attacks
privacy.accounting privacy.policy.disclosure
release
methods
methods.private
methods.engine
training importing
models data
core
errors
"""
FLOOR = {room: -row for row, rooms in enumerate(ROWS.strip().splitlines()) for room in rooms.split()}

FOREIGN = {"found", "asked", "told", "made", "mine"}
"""Names that say how a value came about and not what it is."""

RIDDLES = ("What", "Of", "Whether", "One", "How")
"""First words of docstrings that neither name a thing nor begin with a verb."""


def modules(package: Path = PACKAGE) -> dict[str, ast.Module]:
    """Parse every module of a package, by its dotted name without the package's own."""
    trees = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        trees[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return trees


def imported(tree: ast.AST, known: dict[str, ast.Module]) -> set[str]:
    """Return the package's modules that a tree imports, those for type checkers alone left out."""
    typed = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in ast.walk(node)
    }
    names = set()
    for node in ast.walk(tree):
        if id(node) in typed:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("fedistill."):
                    names.add(alias.name.removeprefix("fedistill."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "fedistill":
            base = (node.module or "").removeprefix("fedistill").removeprefix(".")
            for alias in node.names:
                whole = f"{base}.{alias.name}".removeprefix(".")
                names.add(whole if whole in known else base)
    return names - {""}


def floor(module: str, floors: dict[str, int] = FLOOR) -> int | None:
    """Return the row of a module's room, which is its longest name with a row; None where it has none."""
    while module:
        if module in floors:
            return floors[module]
        module = module.rpartition(".")[0]
    return None


def upward(trees: dict[str, ast.Module]) -> list[str]:
    """List the imports of a higher room by a lower one."""
    return [
        f"{name} imports {other}"
        for name, tree in trees.items()
        for other in sorted(imported(tree, trees))
        if floor(other, FLOOR) is not None and floor(name) is not None and floor(other) > floor(name)  # type: ignore[operator]
    ]


def arrows(room: str, trees: dict[str, ast.Module]) -> Counter[tuple[str, str]]:
    """Count the imports between a room's closets: its folders, and the files that lie beside them."""
    inside = room + "."

    def closet(module: str) -> str:
        return module.removeprefix(inside).partition(".")[0]

    return Counter(
        (closet(name), closet(other))
        for name, tree in trees.items()
        if name.startswith(inside)
        for other in imported(tree, trees)
        if other.startswith(inside) and closet(name) != closet(other)
    )


def docstrings(trees: dict[str, ast.Module]) -> Iterator[str]:
    """Yield every docstring."""
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield text


def kind_tests(trees: dict[str, ast.Module]) -> list[str]:
    """List the places outside ``schemes`` that ask what kind a scheme is."""
    pattern = re.compile(
        r"is(instance|subclass)\(.*(Settings|Scheme|Method)\b|(scheme|method|settings|condition)\.(kind|sends)\b"
    )
    return [
        f"{name}: {ast.unparse(node)[:100]}"
        for name, tree in trees.items()
        if not name.startswith(("schemes", "methods"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call | ast.Compare | ast.Attribute) and pattern.search(ast.unparse(node).split("\n")[0])
        if not isinstance(node, ast.Call) or ast.unparse(node.func) in ("isinstance", "issubclass")
    ]


def main(package: Path = PACKAGE) -> None:
    """Print the figures."""
    trees = modules(package)
    lines: Counter[str] = Counter()
    folders: defaultdict[str, int] = defaultdict(int)
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).parts
        lines[parts[0].removesuffix(".py")] += len(path.read_text().splitlines())
        folders["/".join(parts[:-1])] += path.name != "__init__.py"
    print(f"lines: {sum(lines.values())}; " + ", ".join(f"{room} {n}" for room, n in lines.most_common()))
    largest = sorted(folders.items(), key=lambda item: -item[1])[:5]
    print("modules in the fullest folders: " + ", ".join(f"{name or '.'} {n}" for name, n in largest))
    for room in ("study", "transport", "federation", "report", "schemes"):
        between = arrows(room, trees)
        if between:
            print(f"{room}: {len(between)} arrows between {len({c for pair in between for c in pair})} closets")
    up = upward(trees)
    print(f"upward: {len(up)} {up}")
    names = Counter(n.id for t in trees.values() for n in ast.walk(t) if isinstance(n, ast.Name) and n.id in FOREIGN)
    print(f"names: {sum(names.values())} {dict(names)}")
    starts = Counter(text.split()[0] for text in docstrings(trees) if text.split()[0] in RIDDLES)
    print(f"docstrings: {sum(starts.values())} {dict(starts)}")
    kinds = kind_tests(trees)
    print(f"tests of a scheme's kind: {len(kinds)}")
    classes = Counter(n.name for t in trees.values() for n in ast.walk(t) if isinstance(n, ast.ClassDef))
    print("class names with two meanings: " + ", ".join(name for name, n in classes.items() if n > 1))
