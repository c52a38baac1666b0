"""The page that compares several runs."""

RUNS = """{% extends "frame" %}
{% from "pieces" import table, panels, lines %}
{% block title %}{{ count }} runs compared: FeDistill{% endblock %}
{% block body %}
{% if banner %}<p class="banner" role="note">{{ banner }}</p>{% endif %}
<header>
<p class="eyebrow">FeDistill, several runs</p>
<h1>{{ count }} runs compared</h1>
<nav aria-label="Contents"><ul>
<li><a href="#runs">The runs</a></li>
{% for part in parts %}<li><a href="#{{ part.kind }}">{{ part.title }}</a></li>{% endfor %}
</ul></nav>
</header>
<main>
<section id="runs">
<h2>The runs</h2>
{{ table(runs) }}
{% if unfinished %}<div class="failed">{{ lines(unfinished) }}</div>{% endif %}
</section>
{% for part in parts %}
<section id="{{ part.kind }}">
<h2>{{ part.title }}</h2>
{% if part.banner and not banner %}<p class="banner" role="note">{{ part.banner }}</p>{% endif %}
<p>Of each run, or point of a sweep, the first division of the data, the common recipe and the first model; its own
report has the rest. Runs are comparable where their data, sites and networks are alike: the table above says so.</p>
{{ panels(part.figure.panels, part.figure.caption, part.figure.legend, part.figure.mark) }}
{{ table(part.table) }}
{% if part.indicators %}
<h3>Does a random subset foretell what distilling reaches?</h3>
{% for each in part.indicators %}{{ panels(each.panels, each.caption, each.legend, each.mark) }}{% endfor %}
{% endif %}
</section>
{% endfor %}
{% if notes %}
<section id="notes">
<h2>Left out of the indicator</h2>
{{ lines(notes) }}
</section>
{% endif %}
</main>
<footer>
<p>Values in %: mean over networks, ± standard deviation between networks of one repeat, in parentheses between repeats.
<code>fedistill report DIR...</code> builds this page anew.</p>
</footer>
{% endblock %}
"""
