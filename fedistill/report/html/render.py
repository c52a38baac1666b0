"""From templates to a page that needs nothing else: no network, one file, and a policy that holds browsers to it."""

from base64 import b64encode
from hashlib import sha256
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from fedistill.report.html.templates.frame import FRAME, PIECES
from fedistill.report.html.templates.run import RUN
from fedistill.report.html.templates.runs import RUNS
from fedistill.report.html.templates.script import SCRIPT
from fedistill.report.html.templates.style import STYLE

PHANTOMS = "Phantoms: drawn images. This tests the machinery and says nothing about medicine."
"""What stands above everything that was measured on phantoms."""

MARK = "Phantoms."
"""The same in a figure's caption, for figures get cut out."""


def render(template: str, **content: Any) -> str:
    """A page; ``template`` is ``run`` or ``runs``. Whatever is no Markup is escaped."""
    sources = {"frame": FRAME, "pieces": PIECES, "run": RUN, "runs": RUNS}
    environment = Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template(template)
    return page.render(policy=policy(), style=Markup(STYLE), script=Markup(SCRIPT), **content)


def policy() -> str:
    """Nothing is fetched, and no script runs but the page's own."""
    digest = b64encode(sha256(SCRIPT.encode()).digest()).decode()
    parts = ("default-src 'none'", "img-src data:", "style-src 'unsafe-inline'", f"script-src 'sha256-{digest}'")
    return "; ".join([*parts, "base-uri 'none'", "form-action 'none'"])
