"""From templates to a page that needs nothing else: no network, one file, and a policy that holds browsers to it."""

from base64 import b64encode
from hashlib import sha256
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from fedistill.report.figures.palette import variables
from fedistill.report.format import minus

PHANTOMS = "Phantoms: drawn images. This tests the machinery and says nothing about medicine."
"""Stands above everything that was measured on phantoms."""

MARK = "Phantoms."
"""The same in a figure's caption, for figures get cut out."""

_FOLDER = resources.files("fedistill.report.html") / "templates"


def has_templates() -> bool:
    """Say whether the templates came with the code; into a bundle of Flower's they may not."""
    return (_FOLDER / "frame.html").is_file()


def template(name: str) -> str:
    """Return the text of a template, style or script."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def render(name: str, /, **content: Any) -> str:
    """Return a page. Whatever is no Markup is escaped.

    Args:
        name: of its template, ``run`` or ``runs``.
        **content: values of the template's names.
    """
    environment = Environment(
        loader=FunctionLoader(template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["minus"] = minus
    script = template("page.js")
    page = environment.get_template(f"{name}.html")
    return page.render(policy=policy(script), style=Markup(style()), script=Markup(script), **content)


def style() -> str:
    """Return the page's style, with the palette of each theme in its place."""
    text = template("page.css")
    for theme in ("light", "dark", "print"):
        text = text.replace(f"--palette: {theme};", f"{variables(theme)};")
    return text


def policy(script: str) -> str:
    """Return a content security policy: nothing is fetched, and no script runs but this one."""
    digest = b64encode(sha256(script.encode()).digest()).decode()
    parts = ("default-src 'none'", "img-src data:", "style-src 'unsafe-inline'", f"script-src 'sha256-{digest}'")
    return "; ".join([*parts, "base-uri 'none'", "form-action 'none'"])
