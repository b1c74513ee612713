//! The look of a page, and its few lines of script. Without the script everything is there: it only copies commands,
//! opens the case that a link names, and searches.

/// The style sheet. Colours follow the reader's system; on paper the page is light.
pub(super) const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --paper: #fff; --card: #f6f8fa; --faint: #d8dee4;
  --good: #1a7f37; --bad: #cf222e; --so-so: #9a6700; --bad-bytes: #ffd7d5; --one: #0969da; --two: #bc4c00;
  --three: #8250df; --fill: #b6d9ff; --fill-two: #d8c8f5; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --paper: #0d1117;
  --card: #151b23; --faint: #30363d; --good: #3fb950; --bad: #ff7b72; --so-so: #d29922; --bad-bytes: #67221f;
  --one: #58a6ff; --two: #f0883e; --three: #bc8cff; --fill: #1f4f82; --fill-two: #45307a; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 68rem;
  margin: 1.5rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; line-height: 1.3; margin: 0 0 .5rem; } h2 { font-size: 1.15rem; margin: 1.75rem 0 .5rem; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; } h4 { margin: 1rem 0 .35rem; }
p { margin: .35rem 0; } ul, ol { margin: .35rem 0; padding-left: 1.3rem; }
a { color: inherit; }
.pass { color: var(--good); } .bad { color: var(--bad); font-weight: 600; } .so-so { color: var(--so-so); }
.aside { color: var(--soft); font-size: .86rem; font-weight: 400; }
pre, code { font: 12px/1.5 ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; }
table { border-collapse: collapse; margin: .5rem 0; font-size: .92rem; }
th, td { text-align: start; padding: .2rem .6rem; border-bottom: 1px solid var(--faint); overflow-wrap: normal; }
.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.wide { overflow-x: auto; } .wide td:first-child { min-width: 6.5rem; } .loads td { white-space: nowrap; }
.band { background: var(--card); border: 1px solid var(--faint); border-left: 6px solid currentColor;
  border-radius: 8px; padding: 1rem 1.1rem; font-weight: 400; }
.band > * { color: var(--ink); } .band .badge { color: var(--paper); border-radius: 5px; padding: .05rem .55rem; }
.band.pass .badge { background: var(--good); } .band.bad .badge { background: var(--bad); }
.band.so-so .badge, .band.info .badge { background: var(--so-so); }
.facts { display: flex; flex-wrap: wrap; gap: .4rem 1.6rem; margin: .7rem 0 0; }
.facts dt { color: var(--soft); font-size: .8rem; } .facts dd { margin: 0; }
.command { display: flex; flex-wrap: wrap; align-items: baseline; gap: .3rem .6rem; margin: .6rem 0; }
.command code { flex: 0 1 auto; min-width: 0; border: 1px solid var(--faint); border-radius: 5px;
  padding: .2rem .5rem;
  background: var(--paper); }
button.copy { font: inherit; font-size: .82rem; color: inherit; background: var(--card); cursor: pointer;
  border: 1px solid var(--faint); border-radius: 5px; padding: .1rem .6rem; display: none; }
.script button.copy { display: inline; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.tiles > div { border: 1px solid var(--faint); border-radius: 8px; padding: .5rem .75rem; display: flex;
  flex-direction: column; }
.tiles b { font-size: 1.25rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
.notes { border-left: 3px solid var(--so-so); padding: .1rem 0 .1rem 1.6rem; }
.card { border: 1px solid var(--faint); border-radius: 8px; padding: .3rem 1rem .8rem; margin: .7rem 0;
  break-inside: avoid; }
.card h4 { font-size: 1.05rem; } .count { font-weight: 400; }
summary { cursor: pointer; } .example, .load { margin: .4rem 0; } .example > summary { font-weight: 600; }
.load > summary { padding: .3rem 0; border-bottom: 1px solid var(--faint); }
.before { font-size: .86rem; color: var(--soft); columns: 18rem; margin: 0; }
pre { margin: .3rem 0; } pre.text { overflow-x: auto; max-height: 22rem; padding: .6rem;
  border: 1px solid var(--faint);
  border-radius: 6px; }
.dump { display: flex; flex-wrap: wrap; gap: .1rem 2rem; margin: .5rem 0; max-width: 44rem; }
.dump pre { margin: 0; overflow-wrap: normal; } .dump .offset { color: var(--soft); }
.dump b.is { background: var(--bad-bytes); color: var(--bad); } .dump b.was { text-decoration: underline; }
.side-by-side { display: flex; flex-wrap: wrap; gap: 0 2rem; align-items: start; }
.side-by-side > figure { flex: 1 1 24rem; min-width: 0; } .side-by-side > table { flex: 0 1 auto; }
figure { margin: .8rem 0; break-inside: avoid; } figcaption { font-size: .9rem; margin-bottom: .6rem; }
.key { white-space: nowrap; margin-left: .8rem; color: var(--soft); }
.key i { display: inline-block; width: 1.1rem; height: 0; border-top: 3px solid; vertical-align: middle;
  margin-right: .3rem; }
.rtt, .p50, .server { color: var(--one); } .first, .p99 { color: var(--two); }
  .connect, .max, .open { color: var(--three); } .due { color: var(--soft); }
.s0 { color: #0969da; } .s1 { color: #bc4c00; } .s2 { color: #8250df; } .s3 { color: #1a7f37; }
  .s4 { color: #bf3989; } .s5 { color: #9a6700; } .s6 { color: #1b7c83; } .s7 { color: #cf222e; }
@media screen and (prefers-color-scheme: dark) { .s0 { color: #58a6ff; } .s1 { color: #f0883e; }
  .s2 { color: #bc8cff; } .s3 { color: #3fb950; } .s4 { color: #f778ba; } .s5 { color: #d29922; }
  .s6 { color: #39c5cf; } .s7 { color: #ff7b72; } }
.area path.span { stroke-width: 1; }
.key i.event { border-color: var(--bad); width: .25rem; border-top-width: .7rem; }
.frame { display: grid; grid-template-columns: 5rem minmax(0, 1fr); }
.area { position: relative; height: 9rem; border-left: 1px solid var(--soft); border-bottom: 1px solid var(--soft); }
.side-by-side .area { height: 14rem; } .low .area { height: 5rem; }
.area svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.area path { fill: none; stroke: currentColor; stroke-width: 2; vector-effect: non-scaling-stroke; }
.area path.grid { stroke: var(--faint); stroke-width: 1; } .area path.max { stroke-width: 1; }
.area path.fill { stroke: none; fill: var(--fill); } .area path.open { fill: var(--fill-two); }
.area path.shade { stroke: none; fill: var(--soft); opacity: .3; }
.area path.busy { fill: var(--so-so); opacity: .2; }
.key i.shade { height: .8rem; border: 0; background: var(--soft); opacity: .3; }
.key i.busy { background: var(--so-so); opacity: .2; }
.area .event { position: absolute; bottom: 0; width: 3px; height: .7rem; margin-left: -1px; background: var(--bad); }
.up, .across { position: relative; color: var(--soft); font-size: .78rem; font-variant-numeric: tabular-nums; }
.up span { position: absolute; right: .4rem; transform: translateY(50%); white-space: nowrap; }
.low .up span:not(:first-child):not(:last-child) { display: none; }
.across { grid-column: 2; height: 1.3rem; }
.across span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.across span.begin { transform: none; } .across span.end { transform: translateX(-100%); }
.filters { display: flex; flex-wrap: wrap; gap: .3rem .9rem; align-items: center; margin: 1.2rem 0 .6rem; }
.filters input { accent-color: var(--one); } .find { display: none; font: inherit; padding: .1rem .5rem;
  flex: 1 1 8rem;
  max-width: 16rem; } .script .find { display: inline; }
.head, .case > summary { display: grid; grid-template-columns: 7rem minmax(0, 1fr) 5rem 5.5rem 5rem; gap: 0 .6rem; }
.head { color: var(--soft); font-size: .82rem; padding: 0 .4rem; } .head :nth-child(n + 3) { text-align: right; }
.case { border-bottom: 1px solid var(--faint); } .case > summary { padding: .3rem .4rem; list-style: none; }
.case > summary::-webkit-details-marker { display: none; } .case > summary:hover { background: var(--card); }
.case > summary .verdict::before { content: '▸ '; color: var(--soft); }
.case[open] > summary .verdict::before { content: '▾ '; } .case[open] > summary { background: var(--card); }
.case .body { padding: .2rem .6rem 1.2rem 1.2rem; border-left: 3px solid var(--faint); margin: .2rem 0 .6rem .4rem; }
.why { display: block; color: var(--soft); font-size: .88rem; } .group { font-size: .95rem;
  margin: 1.2rem 0 .3rem .4rem; }
.tag { color: var(--soft); border: 1px solid var(--faint); border-radius: 4px; padding: 0 .35rem; font-size: .78rem; }
.all td { white-space: nowrap; } .grid td, .grid th { border: 1px solid var(--faint); }
  .grid a { text-decoration: none; }
.bar { display: grid; grid-template-columns: 9rem minmax(0, 1fr) 17rem; gap: 0 .8rem; align-items: center;
  margin: .3rem 0; }
.track { position: relative; height: 1.3rem; background: var(--card); }
.track span { position: absolute; } .median { inset: 0 auto 0 0; background: var(--fill); }
.interval { top: 50%; height: 2px; margin-top: -1px; background: var(--ink); min-width: 1px; }
.dot { width: 5px; height: 5px; margin: -2.5px; top: 50%; border-radius: 50%; background: var(--one); }
.bar > .figure { text-align: left; }
footer { margin: 2rem 0 1rem; }
@media (max-width: 44rem) {
  body { margin: .6rem auto; padding: 0 .7rem; } .band { padding: .8rem; }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(7.5rem, 1fr)); gap: .4rem; }
  .tiles b { font-size: 1.05rem; }
  .head { display: none; } .case > summary { grid-template-columns: repeat(3, auto) 1fr; gap: 0 .8rem; }
  .case > summary .name { grid-column: 1 / -1; grid-row: 1; }
  .figure[data-name=p99]:not(:empty)::before { content: 'p99 '; } .case > summary .figure { text-align: left; }
  .case > summary .verdict { grid-row: 2; } .case > summary .figure { color: var(--soft); font-size: .84rem; }
  .case .body { padding: .2rem 0 1rem .6rem; margin-left: 0; } .card { padding: .2rem .6rem .6rem; }
  th, td { padding: .2rem .35rem; }
  .frame { grid-template-columns: 4.3rem minmax(0, 1fr); } .dump { gap: .5rem; } .dump pre { font-size: 11px; }
  .bar { grid-template-columns: 1fr auto; } .bar .track { grid-column: 1 / -1; grid-row: 2; }
}
@media print { body { max-width: none; margin: 0; font-size: 12px; }
  button.copy, .filters { display: none !important; }
  .case > summary, .card { break-inside: avoid; } pre.text { max-height: none; }
  .area path.fill, .median, .dot, .event,
  .badge { print-color-adjust: exact; } }
";

/// The script: it asks for nothing and sends nothing.
pub(super) const SCRIPT: &str = "
'use strict';
const all = (selector) => document.querySelectorAll(selector);
document.documentElement.classList.add('script');
all('button.copy').forEach((button) => button.addEventListener('click', async () => {
  const code = button.previousElementSibling;
  try { await navigator.clipboard.writeText(code.textContent); button.textContent = 'copied'; }
  catch { getSelection().selectAllChildren(code); button.textContent = 'press Ctrl-C'; }
  setTimeout(() => { button.textContent = 'copy'; }, 2000);
}));
const show = () => {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named && named.matches('details.case')) { named.open = true; named.scrollIntoView(); }
};
addEventListener('hashchange', show);
show();
all('input.find').forEach((find) => find.addEventListener('input', () => {
  const words = find.value.toLowerCase().split(/\\s+/);
  all('details.case').forEach((row) => {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  });
  all('.group').forEach((heading) => {
    let row = heading.nextElementSibling;
    while (row && row.hidden && row.matches('details.case')) row = row.nextElementSibling;
    heading.hidden = !row || !row.matches('details.case');
  });
}));
addEventListener('beforeprint', () => all('details.is-fail, details.is-stale, details.is-missed').forEach((row) => {
  row.open = true;
}));
";
