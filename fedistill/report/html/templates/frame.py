"""What all pages have in common, and the pieces that they are put together from."""

FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="generator" content="FeDistill">
<meta name="color-scheme" content="light dark">
<title>{% block title %}{% endblock %}</title>
<style>{{ style }}</style>
</head>
<body>
{% block body %}{% endblock %}
<script>{{ script }}</script>
</body>
</html>
"""

PIECES = """
{% macro row(grid, cells) %}
<tr>
{% for cell in cells %}
{% if loop.first %}
<th scope="row"><span>{{ cell.text }}</span></th>
{% else %}
<td{% if not grid.heads[loop.index0].number %} class="word"{% elif cell.shading %} class="shaded" style="--shade:
{{- cell.shading }}"{% endif %}{% if cell.key %} data-key="{{ cell.key }}"{% endif %}>{{ cell.text }}</td>
{% endif %}
{% endfor %}
</tr>
{% endmacro %}

{% macro table(grid) %}
<p class="caption" id="{{ grid.name }}-caption">{{ grid.caption }}</p>
<div class="wide" role="region" tabindex="0" aria-labelledby="{{ grid.name }}-caption">
<table id="{{ grid.name }}" class="sortable" aria-labelledby="{{ grid.name }}-caption">
<thead><tr>
{% for head in grid.heads %}
<th scope="col"{% if not head.number %} class="word"{% endif %}{% if head.means %} title="{{ head.means }}"{% endif %}>
{{- head.name }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for cells in grid.rows %}{{ row(grid, cells) }}{% endfor %}
</tbody>
{% if grid.totals %}
<tfoot>
{% for cells in grid.totals %}{{ row(grid, cells) }}{% endfor %}
</tfoot>
{% endif %}
</table>
</div>
{% endmacro %}

{% macro panels(made, caption, legend=(), banner="") %}
{% if made %}
<figure>
<figcaption>{% if banner %}<strong>{{ banner }}</strong> {% endif %}{{ caption }}</figcaption>
{% if legend %}
<ul class="legend">
{% for name, look in legend %}<li>{{ look.key }}{{ name }}</li>{% endfor %}
</ul>
{% endif %}
<div class="panels">
{% for each in made %}
<div><h4>{{ each.title }}</h4>{{ each.svg }}</div>
{% endfor %}
</div>
</figure>
{% endif %}
{% endmacro %}

{% macro facts(pairs) %}
<dl class="facts">
{% for name, value in pairs %}<dt>{{ name }}</dt><dd>{{ value }}</dd>
{% endfor %}
</dl>
{% endmacro %}

{% macro lines(texts) %}
{% if texts %}
<ul class="plain">
{% for text in texts %}<li>{{ text }}</li>
{% endfor %}
</ul>
{% endif %}
{% endmacro %}
"""
