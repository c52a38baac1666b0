"""The page of one run."""

RUN = """{% extends "frame" %}
{% from "pieces" import table, panels, facts, lines %}
{% block title %}{{ name }}: FeDistill{% endblock %}
{% block body %}
{% if banner %}<p class="banner" role="note">{{ banner }}</p>{% endif %}
<header>
<p class="eyebrow">FeDistill, report of a simulation</p>
<h1>{{ name }}</h1>
<p class="lede">What do these sites lose, and what do they gain, if each shares a few synthetic images per class instead
of its data?</p>
{{ facts(about) }}
<nav aria-label="Contents"><ul>
{% for target, words in contents %}<li><a href="#{{ target }}">{{ words }}</a></li>{% endfor %}
</ul></nav>
</header>
<main>
<section id="answer">
<h2>The answer</h2>
{% for finding in leaks %}
<p class="{{ 'failed' if finding.proven else 'note' }}">{{ finding.text }}
{% if loop.first %}<a href="#privacy">How it was attacked</a>.{% endif %}</p>
{% endfor %}
{% if point %}<p class="note">At the sweep’s first point: {{ point }}.</p>{% endif %}
<div class="beside"><div>
{% for answer in answers %}
<div class="answer"><p class="verdict">{{ answer.scheme }}: {{ answer.short }}</p><p>{{ answer.text }}</p></div>
{% else %}
<p>No scheme that distils was run: the table says what the others reached.</p>
{% endfor %}
{% if failures %}<p class="failed">Something failed: <a href="#missing">what, and what is missing</a>.</p>{% endif %}
{{ lines(beside) }}
</div><div>
{{ panels(difference, "How much better or worse than random images, scheme by scheme: bars are 95 % intervals, paired by
repeat, over repeats, networks and test images. A bar across the line at zero proves neither.", banner=mark) }}
</div></div>
</section>

{% if holdings %}
<section id="who">
<h2>Who held what</h2>
<p>{{ division }}</p>
{% for grid in holdings %}{{ table(grid) }}{% endfor %}
</section>
{% endif %}

<section id="quality">
<h2>Quality</h2>
<p>Global networks, trained on what the sites share by one recipe, on the official test split of {{ dataset }}. Of every
value the mean over networks, ± the standard deviation between networks of one repeat{% if repeats > 1 %}, in
parentheses between repeats{% endif %}.
{% if choice %}Figures show {{ choice }}; the table has everything.{% endif %}</p>
{{ panels(ipc, "Quality against the images per class that each site shares. Bars are one standard deviation.",
legends.ipc, mark) }}
{{ table(quality) }}
{% if sources %}{{ table(sources) }}{% endif %}
{{ lines(adds) }}
</section>

<section id="bytes">
<h2>What it costs</h2>
<p>Bytes of the encoded messages that crossed the sites’ boundaries for one global network, both ways; the axis is
logarithmic. What the server sends to choose step sizes comes on top, once, for every scheme alike (traffic.csv).</p>
{{ panels(bytes, "Quality against bytes.", legends.bytes, mark) }}
{{ table(costs) }}
</section>

{% if sweep %}
<section id="sweep">
<h2>Over the sweep</h2>
{% for part in sweep %}
{{ panels(part.panels, part.caption, part.legend, part.mark) }}
{% endfor %}
</section>
{% endif %}

{% if indicator %}
<section id="indicator">
<h2>Does a random subset foretell what distilling reaches?</h2>
<p>Random images cost nothing to try. Where what they reach goes up and down with what distilled ones reach, a site can
tell from its own random subset, in minutes, whether distilling is worth the hours
(<code>fedistill predict</code>). indicator.csv has the figures.</p>
{% for part in indicator %}
{{ panels(part.panels, part.caption, part.legend, part.mark) }}
{% endfor %}
</section>
{% endif %}

{% if gains or site_table %}
<section id="sites">
<h2>What each site gains</h2>
{{ panels(gains, "AUC of the shared networks less that of the site’s own, on images that the site set aside before
anything was made of its data; a panel a scheme, at its largest budget, all on one scale.", banner=mark) }}
{% if site_table %}{{ table(site_table) }}{% endif %}
</section>
{% endif %}

{% if privacy %}
<section id="privacy">
<h2>What leaves the sites, and what it tells of patients</h2>
<p>Attacks try to tell images that a Release was made of, or that a site’s networks were trained on, from others of the
same site. The attacker is the server: it sees each site’s Release, or the network it sends in every round, and knows
method, settings and kind of data, not the seed; of rounds it is granted what the other sites hold. An AUC of 50 % is
what a coin reaches; what no attack here finds, another may.</p>
{{ panels(frontier, "What networks are worth against what the strongest attack tells of the images: up and left is
better. Bars are 95 % intervals; the dashed line is a coin. A point with a number and an arrow belongs further right.
The last panel has the same attacks, both axes logarithmic; of one scheme, what comes further down in the table is
dashed.", legends.frontier, mark) }}
{{ table(privacy) }}
</section>
{% endif %}

{% if rows %}
<section id="images">
<h2>What left the sites</h2>
<p>The first repeat, at each scheme’s largest budget{% if classes %}; rows from the top:
{{ classes|join("; ") }}{% endif %}. Synthetic images reach beyond what a scanner records; black and white are set at
the ends of the middle 98 % of their pixels. An image that started from a real one (<code>start = "real"</code>) may
leave it recognisable.</p>
{% if shows_real %}
<p>In a dashed frame, for comparison: random real images, as the scheme <code>random</code> sent them.
{% if phantom %}They are phantoms.{% else %}They are shown because the sites’ policy lets real images out
(<code>allow_real_images = true</code>) and the data are published, or kept by the simulation’s own
setting.{% endif %}</p>
{% else %}
<p>Real images are not shown: {{ hidden }}.</p>
{% endif %}
{% for row in rows %}
<h3>{{ row.site }}</h3>
<div class="grids">
{% for each in row.pictures %}
<figure{% if each.real %} class="real"{% endif %}><img src="{{ each.data }}" width="{{ 2 * each.width }}"
height="{{ 2 * each.height }}" alt="{{ 'random real' if each.real else 'synthetic' }} images of {{ row.site }}, scheme
{{ each.scheme }}, {{ each.ipc }} per class"><figcaption>{{ each.scheme }}, ipc {{ each.ipc }}
{%- if each.start %}; <strong>{{ each.start }}</strong>{% endif %}</figcaption></figure>
{% endfor %}
</div>
{% endfor %}
{% if more %}<p class="note">{{ more }} further pictures are in the run folder, under <code>grids</code>.</p>{% endif %}
</section>
{% endif %}

{% if curves %}
<section id="curves">
<h2>How the images were made</h2>
{% for part in curves %}{{ panels(part.panels, part.caption, part.legend, mark) }}{% endfor %}
</section>
{% endif %}

<section id="missing">
<h2>What failed, and what is missing</h2>
{% if failures %}
<div class="failed">{{ lines(failures) }}</div>
{% else %}
<p>Nothing failed: every site answered every request.</p>
{% endif %}
{% if incidents %}
<h3>Went wrong, and was made good</h3>
{{ lines(incidents) }}
{% endif %}
<h3>Not measured</h3>
{{ lines(gaps) }}
</section>

<section id="repeat">
<h2>How to repeat it</h2>
<p>In the folder that holds the run’s:</p>
<pre><code>{{ command }}</code></pre>
<p class="note">Same settings, data and kind of machine give the same results.csv, timings aside.
<code>fedistill report {{ folder }}</code> builds this page anew.</p>
<h3>Data</h3>
<div class="wide" role="region" tabindex="0" aria-label="Data and licences"><table>
<thead><tr><th scope="col" class="word">Data set</th><th scope="col" class="word">What exactly</th>
<th scope="col" class="word">Licence</th></tr></thead>
<tbody>{% for known, about, licence in data %}<tr><th scope="row">{{ known }}</th><td class="word">{{ about }}</td>
<td class="word">{{ licence }}</td></tr>{% endfor %}</tbody></table></div>
<h3>Machine</h3>
{{ facts(machine) }}
<h3>Versions</h3>
{{ facts(versions) }}
<details><summary>Settings: simulation.toml, with everything resolved</summary><pre><code>{{ settings }}</code></pre>
</details>
</section>
</main>
<footer>
<p>AUC: the chance that a network ranks an image of a class above one of another; 50 % knows nothing, and unequal
classes do not move it. Balanced accuracy: the mean over classes of the share recognised. ipc: images per class.</p>
</footer>
{% endblock %}
"""
