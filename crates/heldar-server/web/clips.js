// Export: the marked range, the request for a clip, and the clips of the camera with what proves and what limits them.

import { can } from './account.js';
import { camera as path, get, postSlow } from './api.js';
import { find, h, icon, text } from './dom.js';
import { clock, iso, parse, span, when } from './time.js';
import { bytes, cause } from './words.js';

/** Clips that are listed. */
const LISTED = 6;

export class Clips {
  #hooks;
  #camera = '';
  #marks = null;
  #busy = false;

  /** `hooks`: `instant()` on screen, `changed(marks)` when the range did. */
  constructor(hooks) {
    this.#hooks = hooks;
    find('mark-in').addEventListener('click', () => this.#markHere('start'));
    find('mark-out').addEventListener('click', () => this.#markHere('end'));
    find('export-clear').addEventListener('click', () => this.setMarks(null));
    find('export-go').addEventListener('click', () => this.#export());
  }

  setCamera(id) {
    if (id === this.#camera) return;
    this.#camera = id;
    find('clips').replaceChildren();
    this.setMarks(null);
    this.showRights();
  }

  /** There is nothing to be marked by who may not export. */
  showRights() {
    const mayExport = can('video:export');
    find('export').hidden = !mayExport || !this.#camera;
    if (!mayExport) this.setMarks(null);
    else if (this.#camera) this.#list();
  }

  /** Sets the range; an end before its begin takes its place. */
  setMarks(marks) {
    if (!can('video:export')) marks = null;
    if (marks && marks.start > marks.end) marks = { start: marks.end, end: marks.start };
    this.#marks = marks;
    this.#error('');
    this.#show();
    this.#hooks.changed(marks);
  }

  #markHere(which) {
    const instant = this.#hooks.instant();
    if (Number.isNaN(instant)) return;
    const marks = { start: NaN, end: NaN, ...this.#marks, [which]: instant };
    // A new begin behind the old end starts a new range.
    if (marks.start >= marks.end) marks[which === 'start' ? 'end' : 'start'] = NaN;
    this.setMarks(marks);
  }

  #show() {
    const { start = NaN, end = NaN } = this.#marks ?? {};
    const label = (instant) => (Number.isNaN(instant) ? 'set here' : when(instant));
    text(find('mark-in-time'), label(start));
    text(find('mark-out-time'), label(end));
    const complete = end > start;
    text(find('export-length'), complete ? span((end - start) / 1000) : '');
    find('export-go').disabled = !complete || this.#busy;
    text(find('export-go'), this.#busy ? 'Exporting…' : 'Export');
    find('export-hint').hidden = this.#marks !== null;
    find('export-clear').hidden = this.#marks === null || this.#busy;
  }

  #error(message) {
    find('export-error').hidden = !message;
    text(find('export-error'), message);
  }

  async #export() {
    const { start, end } = this.#marks;
    const camera = this.#camera;
    this.#busy = true;
    this.#error('');
    this.#show();
    try {
      await postSlow(path(camera, '/clip'), { from: iso(start), to: iso(end) });
      if (camera !== this.#camera) return;
      await this.#list();
      find('clips').firstElementChild?.scrollIntoView({ block: 'nearest' });
    } catch (error) {
      this.#error(error.text ?? String(error));
    } finally {
      this.#busy = false;
      this.#show();
    }
  }

  async #list() {
    const camera = this.#camera;
    const clips = await get(path(camera, '/clips', { limit: LISTED })).catch(() => null);
    if (clips && camera === this.#camera) find('clips').replaceChildren(...clips.slice(0, LISTED).map(card));
  }
}

function card(clip) {
  const [from, to] = [parse(clip.from), parse(clip.to)];
  const sum = h('code', { title: clip.sha256 }, clip.sha256);
  const copy = h('button', { className: 'link', type: 'button' }, 'copy');
  copy.addEventListener('click', async () => {
    // Without permission the sum is still there to be marked.
    const copied = await navigator.clipboard?.writeText(clip.sha256).then(() => true, () => false);
    text(copy, copied ? 'copied' : 'copy');
  });
  return h(
    'li',
    { className: 'clip' },
    h(
      'div',
      { className: 'clip-head' },
      h('span', {}, h('b', {}, `${when(from)} – ${clock(to)}`), h('small', {}, `${span(clip.requested_seconds)} · ${bytes(clip.size_bytes)}`)),
      h('a', { className: 'button', href: clip.url, download: clip.download_name ?? clip.filename, title: 'Download' }, icon('download'), 'Download'),
    ),
    h('p', { className: 'sum' }, h('span', {}, 'SHA-256'), sum, copy),
    clip.gaps.length ? gaps(clip) : null,
  );
}

function gaps(clip) {
  const lines = clip.gaps.map((gap) => {
    const [from, to] = [parse(gap.from), parse(gap.to)];
    return h('li', {}, `${when(from)} – ${clock(to)} (${span((to - from) / 1000)}): ${cause(gap.cause)}`);
  });
  return h(
    'details',
    { className: 'missing' },
    h('summary', {}, `${span(clip.covered_seconds)} recorded, ${lines.length === 1 ? '1 gap' : `${lines.length} gaps`}`),
    h('ul', {}, ...lines),
  );
}
