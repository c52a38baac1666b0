"""The card of an exported pool, in words."""

from fedistill.export.pool.select import SyntheticPool


def card_text(pool: SyntheticPool, cut_off: float | None) -> str:
    """Return the card in Markdown.

    Args:
        pool: the images.
        cut_off: share of pixels that eight bits cut off; None where the format has every pixel as it is.
    """
    card = pool.card
    settings = ", ".join(f"{name} {value}" for name, value in card["settings"].items())
    lines = [
        f"# {card['what'][:1].upper()}{card['what'][1:]}",
        "",
        f"- made by: {', '.join(card['made by'])}" + _missing(card.get("missing") or {}),
        f"- by: `{card['scheme']}`" + (f", {card['ipc']} images per class and site" if card["ipc"] else ""),
        f"- settings: {settings or 'none'}; seed {card['seed']}; {card['software']}",
        f"- from: {card['source'] or 'data that its maker does not name'}"
        + (f"; licence of the data: {card['licence']}" if card["licence"] else ""),
        f"- classes: {', '.join(pool.class_names)}",
        "",
        "## What protects the patients",
        "",
        card["guarantee"],
        "",
        "## What an attacker found",
        "",
        *(f"- {line}" for line in card["attackers"]),
        "",
        "## Use",
        "",
        "Pixels as networks take them: real images in 0..1, less 0.5, divided by 0.5. "
        + (
            "This format has eight bits a pixel, 0 and 255 where real images have black and white; "
            f"{100 * cut_off:.2g} % of the synthetic pixels lay beyond and were cut off."
            if cut_off is not None
            else "This format has every pixel as it is."
        ),
    ]
    if card.get("pooling", "concat") != "concat":
        lines.append(f"The study's networks saw some images repeatedly (pooling {card['pooling']}); here each is once.")
    if card["step sizes"]:
        lines.append(f"Learned step sizes: {', '.join(f'{lr:.4g}' for lr in card['step sizes'])}.")
    lines.append("For research; not for diagnosis.")
    return "\n".join(lines) + "\n"


def _missing(missing: dict[str, str]) -> str:
    return f" (missing: {', '.join(f'{site}, {why}' for site, why in missing.items())})" if missing else ""
