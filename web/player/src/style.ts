// The look of the element, as a constructable style sheet: a strict content security policy takes it, and nothing of the page
// around gets in. Colours can be set from outside by custom properties.

const CSS = `
:host { display: block; position: relative; aspect-ratio: 16 / 9; min-width: 12rem; background: #000; color: #fff; overflow: hidden;
  font: 14px/1.4 system-ui, sans-serif; font-variant-numeric: tabular-nums; container-type: inline-size; }
:host([hidden]) { display: none; }
:host(:fullscreen) { aspect-ratio: auto; width: 100%; height: 100%; }
.pictures { position: absolute; inset: 0; isolation: isolate; }
.notice { position: absolute; inset: auto 0 3.2rem; padding: 0 1rem; text-align: center; text-wrap: balance; pointer-events: none; z-index: 2; }
.notice:empty { display: none; }
.notice span { display: inline-block; padding: .3rem .8rem; border-radius: 6px; background: rgb(0 0 0 / 70%); }
.notice[data-state=connecting] span { animation: late .3s .7s both; }
@keyframes late { from { opacity: 0; } }
.bar { position: absolute; inset: auto 0 0; z-index: 3; display: flex; align-items: center; gap: .15rem; padding: 1.2rem .4rem .3rem;
  background: linear-gradient(transparent, rgb(0 0 0 / 75%)); }
button { display: inline-flex; align-items: center; justify-content: center; min-width: 2.5rem; height: 2.5rem; padding: 0 .4rem;
  border: 0; border-radius: 6px; background: none; color: inherit; font: inherit; cursor: pointer; }
button:hover { background: rgb(255 255 255 / 18%); }
button:focus-visible { outline: 2px solid var(--heldar-player-accent, #54cdb9); outline-offset: -2px; }
svg { width: 1.4rem; height: 1.4rem; fill: currentcolor; }
.live::before { content: ""; width: .6rem; height: .6rem; margin-right: .4rem; border-radius: 50%; background: #9aa5a2; }
.live[aria-pressed=true]::before { background: var(--heldar-player-live, #ff5252); }
time { padding: 0 .3rem; white-space: nowrap; }
.info { flex: 1; min-width: 0; overflow: hidden; text-align: right; text-overflow: ellipsis; white-space: nowrap; color: #d5dcda; font-size: 12px; }
@container (max-width: 30rem) {
  .info { position: absolute; top: -.4rem; right: .6rem; left: .6rem; text-align: left; text-shadow: 0 0 2px #000, 0 0 5px #000; }
  time { flex: 1; }
}
@container (max-width: 20rem) { .skip { display: none; } }
@media (prefers-reduced-motion: reduce) { * { animation: none !important; } }
`;

/** Gives a shadow root its style. */
export function dress(root: ShadowRoot): void {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(CSS);
  root.adoptedStyleSheets = [sheet];
}
