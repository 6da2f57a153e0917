"""The style sheet of the report: for a desk, a phone and paper."""

from gatekeeper.audit.pages.markup import raw

# Fills differ in brightness and outline, not only in hue; text on white has a contrast of at least 7:1.
STYLE = raw("""
:root { color-scheme: light; --ink: #1b1b1b; --dim: #4a4a4a; --rule: #b8b8b8; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; color: var(--ink); background: #fff;
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .4rem; padding-top: .5rem; border-top: 2px solid var(--ink); }
p { max-width: 46rem; margin: .4rem 0; }
.dim { color: var(--dim); }
nav ol { columns: 20rem; padding-left: 1.4rem; margin: .5rem 0; }
a { color: #00439c; }
.wide { overflow-x: auto; max-width: 100%; margin: .6rem 0; }
.wide:focus-visible { outline: 3px solid #00439c; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--rule);
  overflow-wrap: anywhere; min-width: 4.5rem; }
thead th { border-bottom: 2px solid var(--ink); overflow-wrap: normal; }
tbody th { font-weight: 400; min-width: 8rem; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: .6rem 0; }
figcaption { font-weight: 600; }
svg { display: block; width: 100%; min-width: 36rem; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
.grid { stroke: #d8d8d8; }
.mark { stroke: var(--ink); stroke-dasharray: 2 3; }
.s0 { fill: #cfe3f5; stroke: #1c5a94; --c: #cfe3f5; --b: #1c5a94; }
.s1 { fill: #ffd98a; stroke: #8a5a00; --c: #ffd98a; --b: #8a5a00; }
.s2 { fill: #fff6dc; stroke: #8a5a00; --c: #fff6dc; --b: #8a5a00; }
.s3 { fill: #9c1c1c; stroke: #5c0c0c; --c: #9c1c1c; --b: #5c0c0c; }
.s4 { fill: #4b2e83; stroke: #2c1750; --c: #4b2e83; --b: #2c1750; }
.s5 { fill: #b9b9b9; stroke: #444; --c: #b9b9b9; --b: #444; }
.line { fill: none; stroke-width: 2.5; }
.line.s1 { stroke-dasharray: 7 4; } .line.s3 { stroke-dasharray: 2 3; } .line.s4 { stroke-dasharray: 10 3 2 3; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; }
.legend { padding: 0; margin: .3rem 0; }
.key { display: inline-block; width: .9rem; height: .9rem; margin-right: .4rem; background: var(--c);
  border: 2px solid var(--b); vertical-align: -.1rem; }
.verdict { border: 2px solid var(--ink); border-left-width: .8rem; padding: .5rem .8rem; margin: .8rem 0; }
.verdict.good { border-color: #1d6b2f; }
.verdict.bad { border-color: #9c1c1c; }
.verdict.open { border-color: #8a5a00; }
.verdict strong { font-size: 1.1rem; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  .wide { overflow: visible; }
  svg { min-width: 0; }
  h2, caption, figcaption { break-after: avoid; }
  tr, figure, .verdict { break-inside: avoid; }
  thead { display: table-header-group; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
""")
