// The board of cameras: a row for each with its state and its strip of footage, one time axis for all, the playhead, and
// the marks of the export range.

import { attribute, find, h, s, text } from './dom.js';
import { at, gapNear } from './footage.js';
import { clock, day, minutes, sameDay, span, when } from './time.js';
import { bitrate, cause, codec, notWanted, rate, resolution, state } from './words.js';

const MINUTE = 60_000;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720].map((minutes) => minutes * MINUTE);
/** Least distance of labels on the axis, and of the pointer from a gap that it names, in pixels. */
const LABEL = 84;
const REACH = 3;
/** Room that a label needs before the end of the axis, where it would be cut off. */
const LABEL_END = 42;
const NOTHING = { ranges: [], gaps: [] };

export class Timeline {
  /** The window that is shown. */
  from = 0;
  to = 1;
  /** The instant on screen. */
  instant = NaN;

  #hooks;
  #rows = new Map();
  #coverage = new Map();
  #selected = '';
  #marks = null;
  #width = 1;

  /** `hooks`: `seek(camera, instant)`, `select(camera)`, `mark(marks)`, `now()`. */
  constructor(hooks) {
    this.#hooks = hooks;
    new ResizeObserver(() => this.#measure()).observe(find('board'));
    find('rows').addEventListener('pointerleave', () => this.#leave());
  }

  setWindow(from, to) {
    this.from = from;
    this.to = to;
    this.#drawAll();
  }

  setCoverage(coverage) {
    this.#coverage = coverage;
    this.#drawAll();
  }

  /** Cameras in order, each with its status; `selected` is the one on screen. */
  setCameras(cameras, selected) {
    this.#selected = selected;
    for (const [id, row] of this.#rows) {
      if (cameras.some((camera) => camera.id === id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    cameras.forEach((camera, index) => {
      const row = this.#rows.get(camera.id) ?? this.#makeRow(camera.id);
      row.update(camera, camera.id === selected);
      const rows = find('rows');
      if (rows.children[index] !== row.element) rows.insertBefore(row.element, rows.children[index] ?? null);
    });
    this.#measure();
  }

  setInstant(instant) {
    this.instant = instant;
    this.#place('playhead', instant);
    const focused = [...this.#rows].find(([, row]) => document.activeElement === row.strip);
    if (focused) this.#describe(focused[1], focused[0]);
  }

  /** The export range: `{start, end}` with NaN for an end that is not marked yet, or null. */
  setMarks(marks) {
    this.#marks = marks;
    this.#drawAll();
  }

  // Geometry

  #measure() {
    const strip = this.#rows.values().next().value?.strip;
    const width = strip?.clientWidth ?? 0;
    if (!width) return;
    const board = find('board').getBoundingClientRect();
    const left = strip.getBoundingClientRect().left - board.left;
    find('board').style.setProperty('--strip-left', `${left}px`);
    find('board').style.setProperty('--strip-width', `${width}px`);
    if (width === this.#width) return;
    this.#width = width;
    this.#drawAll();
  }

  #x(instant) {
    return ((instant - this.from) / (this.to - this.from)) * this.#width;
  }

  #instantAt(row, clientX) {
    const box = row.strip.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (clientX - box.left) / box.width));
    return this.from + share * (this.to - this.from);
  }

  /** Moves one of the two lines, `playhead` or `hover`, and hides it outside of the window. */
  #place(line, instant) {
    const board = find('board');
    const visible = instant >= this.from && instant <= this.to;
    board.toggleAttribute(`data-${line}`, visible);
    if (visible) board.style.setProperty(`--${line}-left`, `${this.#x(instant)}px`);
  }

  // Drawing

  #drawAll() {
    this.#drawAxis();
    this.#rows.forEach((row, id) => this.#drawStrip(row, id));
    this.setInstant(this.instant);
  }

  #drawAxis() {
    const axis = find('axis');
    const length = this.to - this.from;
    const step = STEPS.find((each) => (each / length) * this.#width >= LABEL) ?? STEPS[STEPS.length - 1];
    // Labels stand at round times of the viewer's zone.
    const shift = new Date(this.from).getTimezoneOffset() * MINUTE;
    const labels = [];
    let last = NaN;
    for (let tick = Math.ceil((this.from - shift) / step) * step + shift; tick <= this.to; tick += step) {
      const newDay = !Number.isNaN(last) && !sameDay(last, tick);
      const x = this.#x(tick);
      const name = newDay ? day(tick) : minutes(tick);
      const label = h('span', { className: newDay ? 'tick day' : 'tick' }, this.#width - x < LABEL_END ? '' : name);
      label.style.left = `${x}px`;
      labels.push(label);
      last = tick;
    }
    axis.replaceChildren(h('div', { className: 'ticks' }, ...labels));
  }

  #drawStrip(row, id) {
    const { ranges, gaps } = this.#coverage.get(id) ?? NOTHING;
    const shapes = [];
    const bar = (span, attributes, least) => {
      const start = Math.max(0, this.#x(span.start));
      const end = Math.min(this.#width, this.#x(span.end));
      if (end < 0 || start > this.#width) return;
      shapes.push(s('rect', { x: start, y: 0, width: Math.max(least, end - start), height: '100%', ...attributes }));
    };
    ranges.forEach((range) => bar(range, { class: 'recorded' }, 0.5));
    // Painted last and never thinner than one can see.
    gaps.forEach((gap) => bar(gap, { class: 'missing', fill: 'url(#hatch)' }, 2));
    row.picture.replaceChildren(...shapes);
    row.showMarks(id === this.#selected ? this.#marks : null);
    this.#describe(row, id);
  }

  // Rows

  #makeRow(id) {
    const row = new Row(id, {
      x: (instant) => Math.min(this.#width, Math.max(0, this.#x(instant))),
      select: () => this.#hooks.select(id),
      dragMark: (which, clientX) => this.#moveMark(which, this.#instantAt(row, clientX)),
      stepMark: (which, by) => this.#moveMark(which, this.#marks[which] + by * this.#fine()),
    });
    this.#rows.set(id, row);
    this.#bindStrip(row, id);
    return row;
  }

  /** Length of a small step: a second, or what can be seen in a long window. */
  #fine() {
    return Math.max(1000, Math.round((this.to - this.from) / 1_800_000) * 1000);
  }

  #moveMark(which, instant) {
    this.#hooks.mark({ ...this.#marks, [which]: Math.min(instant, this.#hooks.now()) });
  }

  #bindStrip(row, id) {
    const { strip } = row;
    strip.addEventListener('pointermove', (event) => this.#hover(row, id, event));
    strip.addEventListener('pointerup', (event) => {
      if (event.button === 0) this.#hooks.seek(id, this.#instantAt(row, event.clientX));
    });
    strip.addEventListener('keydown', (event) => {
      const length = this.to - this.from;
      const base = Number.isNaN(this.instant) ? this.to : this.instant;
      const target = {
        ArrowLeft: base - length / 100,
        ArrowRight: base + length / 100,
        PageUp: base + length / 10,
        PageDown: base - length / 10,
        Home: this.from,
        End: this.to,
        Enter: base,
      }[event.key];
      if (target === undefined) return;
      event.preventDefault();
      this.#hooks.seek(id, target, target < base ? -1 : 1);
    });
  }

  #describe(row, id) {
    const { strip } = row;
    attribute(strip, 'aria-valuemin', String(Math.round(this.from / 1000)));
    attribute(strip, 'aria-valuemax', String(Math.round(this.to / 1000)));
    const instant = Number.isNaN(this.instant) ? this.to : this.instant;
    attribute(strip, 'aria-valuenow', String(Math.round(instant / 1000)));
    attribute(strip, 'aria-valuetext', `${when(instant)}, ${this.#what(id, instant, 0)}`);
  }

  #what(id, instant, reach) {
    const coverage = this.#coverage.get(id) ?? NOTHING;
    const gap = gapNear(coverage, instant, reach);
    const found = gap ? { kind: 'missing', ...gap } : at(coverage, instant);
    if (found.kind === 'recorded') return 'recorded';
    if (found.kind === 'idle') return instant > this.#hooks.now() ? 'not yet' : 'not to be recorded';
    const length = span((found.end - found.start) / 1000);
    return `missing ${clock(found.start)} to ${clock(found.end)} (${length}): ${cause(found.cause)}`;
  }

  #hover(row, id, event) {
    const instant = this.#instantAt(row, event.clientX);
    this.#place('hover', instant);
    const reach = (REACH * (this.to - this.from)) / this.#width;
    const tip = find('tip');
    tip.replaceChildren(h('b', {}, when(instant)), this.#what(id, instant, reach));
    tip.hidden = false;
    const left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(8, left)}px`;
    const above = row.strip.getBoundingClientRect().top - tip.offsetHeight - 8;
    tip.style.top = `${Math.max(8, above)}px`;
  }

  #leave() {
    find('tip').hidden = true;
    this.#place('hover', NaN);
  }
}

/** One camera of the board. */
class Row {
  constructor(id, hooks) {
    this.hooks = hooks;
    this.name = h('b', { className: 'name' });
    this.dot = h('i', { className: 'dot' });
    this.facts = h('span', { className: 'facts' });
    const head = h('button', { className: 'head', type: 'button', onclick: hooks.select }, this.dot, this.name, this.facts);
    this.head = head;
    this.picture = s('svg', { class: 'strip-picture', 'aria-hidden': 'true' });
    this.strip = h('div', { className: 'strip', tabIndex: 0, role: 'slider' }, this.picture);
    this.shade = h('i', { className: 'shade', hidden: true });
    this.marks = { start: this.#makeMark('start'), end: this.#makeMark('end') };
    const track = h('div', { className: 'track' }, this.strip, this.shade, this.marks.start, this.marks.end);
    this.element = h('div', { className: 'camera', 'data-camera': id }, head, track);
  }

  #makeMark(which) {
    const mark = h('button', { className: `handle ${which}`, type: 'button', role: 'slider', hidden: true });
    attribute(mark, 'aria-label', which === 'start' ? 'Begin of the clip' : 'End of the clip');
    mark.addEventListener('pointerdown', (event) => {
      mark.setPointerCapture(event.pointerId);
      event.preventDefault();
      mark.focus();
    });
    mark.addEventListener('pointermove', (event) => {
      if (mark.hasPointerCapture(event.pointerId)) this.hooks.dragMark(which, event.clientX);
    });
    mark.addEventListener('keydown', (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 }[event.key];
      if (by === undefined) return;
      event.preventDefault();
      this.hooks.stepMark(which, by);
    });
    return mark;
  }

  showMarks(marks) {
    for (const which of ['start', 'end']) {
      const mark = this.marks[which];
      const instant = marks?.[which] ?? NaN;
      mark.hidden = Number.isNaN(instant);
      if (mark.hidden) continue;
      mark.style.left = `${this.hooks.x(instant)}px`;
      attribute(mark, 'aria-valuenow', String(Math.round(instant / 1000)));
      attribute(mark, 'aria-valuetext', when(instant));
    }
    this.shade.hidden = !(marks && marks.end > marks.start);
    if (this.shade.hidden) return;
    const start = this.hooks.x(marks.start);
    this.shade.style.left = `${start}px`;
    this.shade.style.width = `${this.hooks.x(marks.end) - start}px`;
  }

  update(camera, selected) {
    this.element.classList.toggle('selected', selected);
    attribute(this.head, 'aria-pressed', String(selected));
    const now = camera.status?.state ?? 'unknown';
    this.dot.className = `dot ${now}`;
    text(this.name, camera.name);
    text(this.facts, facts(camera));
    this.facts.classList.toggle('bad', now === 'offline' || now === 'error');
    this.head.title = `${camera.name}: ${state(now)}`;
    attribute(this.strip, 'aria-label', `Footage of ${camera.name}`);
  }
}

/** The line under a camera's name: why it does not record, or what it records. */
export function facts(camera) {
  const { status } = camera;
  if (!status) return 'new';
  if (status.state === 'disabled') return notWanted(status.not_wanted_reason) || state(status.state);
  if (status.state === 'offline' || status.state === 'error') {
    return `${state(status.state)}: ${status.reason_class ? cause(status.reason_class) : status.last_error || 'unknown cause'}`;
  }
  if (status.state !== 'recording') return `${state(status.state)}…`;
  const size = camera.record_stream === 'sub' ? camera.resolution_sub : camera.resolution_main;
  const fps = pictureRate(status.fps_observed, camera.fps_main);
  return [
    camera.codec && codec(camera.codec),
    size && resolution(size),
    fps && rate(fps),
    status.bitrate_kbps && bitrate(status.bitrate_kbps),
  ]
    .filter(Boolean)
    .join(' · ') || state(status.state);
}

/** What is measured, unless that is what was announced within the error of measuring. */
function pictureRate(measured, announced) {
  return measured && announced && Math.abs(measured / announced - 1) < 0.05 ? announced : measured ?? announced;
}
