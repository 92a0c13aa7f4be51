"""The words and the looks of a run's page: its templates and style sheet, without a number of any run."""

from __future__ import annotations

from string import Template

RAISED, LOWERED = (214, 69, 50), (47, 111, 208)  # colours of a positive and of a negative change of a logit
CHART_WIDTH, CHART_HEIGHT = 560, 300  # units of a chart's frame

STYLE = f"""
:root {{ color-scheme: light dark; --paper: #fff; --ink: #1d2327; --soft: #69737b; --line: #d9dee2;
  --accent: #0b62b8; --train: #0b62b8; --validation: #c2410c; --raw: #a9b3bb; }}
@media (prefers-color-scheme: dark) {{ :root {{ --paper: #15191c; --ink: #e6eaed; --soft: #9aa5ad; --line: #343b41;
  --accent: #7cb8f5; --train: #7cb8f5; --validation: #ff9d66; --raw: #59636b; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; padding: 1rem clamp(.75rem, 3vw, 2rem) 3rem; max-width: 1240px; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }}
h1 {{ margin: .5rem 0; font-size: 1.7rem; line-height: 1.2; }}
h2 {{ margin: 2.2rem 0 .6rem; font-size: 1.25rem; }}
h3 {{ margin: 1.2rem 0 .3rem; font-size: 1rem; }}
p {{ max-width: 46rem; margin: .5rem 0; }}
sub {{ line-height: 0; }}
a {{ color: var(--accent); }}
figure {{ margin: 0; min-width: 0; }}
figcaption, .note {{ color: var(--soft); font-size: .875rem; }}
.note {{ max-width: none; }}
.scroll {{ overflow-x: auto; }}
.sides {{ display: grid; gap: 0 2.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); }}
.shared {{ position: absolute; width: 0; height: 0; }}
table {{ border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }}
.findings {{ font-size: .8125rem; }}
.findings thead th {{ white-space: normal; vertical-align: bottom; color: var(--soft); font-weight: 500; }}
.findings tbody th {{ position: sticky; left: 0; background: var(--paper); }}
.findings .names {{ min-width: 17rem; white-space: normal; }}
td.names, .findings thead .names, .config th, .config td {{ text-align: left; }}
.config td {{ white-space: normal; overflow-wrap: anywhere; }}
.matrix {{ font-size: .8125rem; table-layout: fixed; width: 100%; max-width: 31rem; margin-bottom: .5rem; }}
.matrix th, .matrix td {{ padding: .1rem; height: 2.9rem; text-align: center; border: 1px solid var(--line); }}
.matrix svg {{ display: block; margin: auto; width: 100%; max-width: 2.7rem; }}
details {{ border-top: 1px solid var(--line); }}
details:last-of-type {{ border-bottom: 1px solid var(--line); }}
summary {{ padding: .7rem 0; cursor: pointer; }}
svg text {{ fill: var(--soft); font-size: 13px; }}
svg .middle {{ text-anchor: middle; }}
svg .end {{ text-anchor: end; }}
.chart {{ display: block; width: 100%; max-width: 44rem; }}
.chart path, .chart polyline {{ fill: none; stroke: var(--line); stroke-linecap: round; }}
.chart path.raw {{ stroke: var(--raw); stroke-width: 2.5; }}
.chart path.tensor {{ stroke: var(--train); stroke-width: 4; opacity: .45; }}
.chart path.train, .chart path.validation {{ stroke-width: 8; }}
.chart .mean {{ stroke: var(--ink); stroke-width: 2; }}
.chart .train {{ stroke: var(--train); }}
.chart .validation {{ stroke: var(--validation); }}
.key::before {{ content: "● "; }}
.key.raw::before {{ color: var(--raw); }}
.key.mean::before {{ content: "━ "; color: var(--ink); }}
.key.train::before {{ color: var(--train); }}
.key.validation::before {{ color: var(--validation); }}
.heat {{ display: block; width: 100%; min-width: 46rem; }}
.heat image {{ image-rendering: pixelated; }}
.heat .frame {{ fill: none; stroke: var(--line); }}
.heat .hair {{ fill: var(--ink); font-weight: 700; }}
.heat .marker {{ fill: var(--ink); }}
.from {{ stop-color: rgb{LOWERED}; }} .to {{ stop-color: rgb{RAISED}; }}
@media (max-width: 600px) {{ .chart text {{ font-size: 21px; }} }}
"""

CHART = Template(
    f"""<svg class="chart" viewBox="-104 -8 {CHART_WIDTH + 112} {CHART_HEIGHT + 64}" role="img" aria-label="$title">
<path d="M0 0H{CHART_WIDTH}V{CHART_HEIGHT}H0Z$grid"/>$labels
<text x="{CHART_WIDTH / 2}" y="{CHART_HEIGHT + 50}" class="middle">$x_name</text>
<text transform="translate(-86 {CHART_HEIGHT / 2}) rotate(-90)" class="middle">$y_name</text>
<svg width="{CHART_WIDTH}" height="{CHART_HEIGHT}">$marks</svg></svg>"""
)

HEAT_MAP = Template(
    """<div class="scroll"><svg class="heat" viewBox="$box" role="group" aria-label="Heat map: change of each logit">
$names<image href="$picture" width="$width" height="$height" preserveAspectRatio="none"/>
<path class="frame" d="M0 0H${width}V${height}H0Z"/>$rows
<rect class="frame" x="$bar_left" y="$bar_top" width="300" height="12" style="fill:url(#colours)"/>
<text x="$bar_left" y="$bar_text" class="middle">−$limit</text><text x="$middle" y="$bar_text" class="middle">0</text>
<text x="$bar_right" y="$bar_text" class="middle">+$limit</text></svg></div>"""
)

DETAILS = Template(
    """<details$open><summary><b>Step $step</b> · validation loss $loss · most moved: $first</summary>
<div class="sides" id="step-$step"><figure><h3>Norms of the brackets</h3>$matrix
<figcaption>A bracket changes its sign, not its norm, when its two examples change places.</figcaption></figure>
<figure><h3>Bracket against gradient</h3>$scatter</figure></div>
<figure><h3>Change of the logits by the largest bracket: examples $i and $j, norm $norm</h3>$heat_map
<figcaption>Rows: evaluation images (▸ the pair). Columns: attributes (bold: hair colours). Red: training on $i and then
on $j leaves the logit higher than the other way round; blue: lower. Per unit of squared learning
rate.</figcaption></figure></details>"""
)

PAGE = Template(
    """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Lie brackets: $dataset, $preset, $steps steps</title><style>$style</style></head><body>
<svg class="shared" aria-hidden="true"><defs><linearGradient id="colours"><stop class="from" offset="0"/>
<stop class="from" offset=".5" stop-opacity="0"/><stop class="to" offset=".5" stop-opacity="0"/>
<stop class="to" offset="1"/></linearGradient>$faces</defs></svg>
<h1>Lie brackets of training examples</h1>
<p><b>$preset</b> ($parameters parameters) trained on <b>$dataset</b> for $steps steps, seed $seed.</p>
<p>Each example i is a vector field, v<sub>i</sub> = −∇L<sub>i</sub>. The bracket [v<sub>i</sub>, v<sub>j</sub>], times
the square of the learning rate, is to leading order the difference between training on i and then on j, and on j and
then on i.</p>
<h2>Loss</h2><figure>$loss_chart<figcaption><span class="key raw">mini-batch (thinned)</span> ·
<span class="key mean">its mean over the last tenth of the steps so far</span> ·
<span class="key train">train</span> and <span class="key validation">validation</span> at the checkpoints,
the marked steps</figcaption></figure>
<h2>Findings</h2><p class="note">Loss and accuracy over $train_images training and $validation_images validation
images. Correlation: of log RMS bracket and log RMS gradient over the tensors, mean over the pairs; c: bracket = c ·
gradient. RMS of the gradient: $rms_gradient. Ranks by mean |logit change|. Checks: relative differences of the bracket
from finite differences and between the two modes of the Hessian-vector product, and the observed order of the order
swap (1 is right).</p>
<div class="scroll"><table class="findings"><thead><tr><th scope="col">step</th><th scope="col">train loss</th>
<th scope="col">validation loss</th><th scope="col">train accuracy</th><th scope="col">validation accuracy</th>
<th scope="col">mean log–log correlation</th><th scope="col">constant c</th>$hair
<th scope="col" class="names">most moved attributes</th><th scope="col">finite differences</th>
<th scope="col">HVP modes</th><th scope="col">order swap</th></tr></thead><tbody>$findings</tbody></table></div>
<h2>Checkpoints</h2>$checkpoints
<h2>Settings</h2><div class="scroll"><table class="config">$config</table></div></body></html>
"""
)
