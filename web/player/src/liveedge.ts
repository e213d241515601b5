// Keeps a video element near the newest picture of its sink: the shell around edge.ts, for transports that use Media Source
// Extensions.

import { Edge } from './edge.js';
import type { EdgeOptions } from './edge.js';
import type { Sink } from './sink.js';

const LOOK_MS = 100;
/** What is kept behind the picture on screen, and how much more there is before it is let go of, in seconds. */
const KEPT = 4;
const TRIM_AT = 12;

export class LiveEdge {
  #sink: Sink;
  #edge: Edge;
  #timer: ReturnType<typeof setInterval>;

  constructor(sink: Sink, options: EdgeOptions) {
    this.#sink = sink;
    this.#edge = new Edge(options);
    sink.onchange = () => this.#changed();
    sink.video.addEventListener('waiting', this.#waiting);
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#sink.onchange = () => undefined;
    this.#sink.video.removeEventListener('waiting', this.#waiting);
  }

  /** Goes to the newest picture, however near it is. */
  catchUp(): void {
    const newest = this.#newest();
    if (newest) this.#sink.video.currentTime = Math.max(newest.start, newest.end - this.#edge.aim(performance.now()));
  }

  #newest() {
    return this.#sink.stretches().at(-1);
  }

  readonly #waiting = () => {
    const newest = this.#newest();
    const { video } = this.#sink;
    // Where there is media, the element only waits for its decoder.
    if (newest && !video.seeking && newest.end - video.currentTime < 0.1) this.#edge.ranDry(performance.now());
  };

  #changed(): void {
    const newest = this.#newest();
    if (!newest) return;
    this.#edge.arrived(performance.now(), newest.end);
    this.#look();
    this.#trim(newest.end);
  }

  #look(): void {
    const { video } = this.#sink;
    const newest = this.#newest();
    // A paused picture stays; where it is seeking already, its time is not where it will be.
    if (!newest || video.seeking || (video.paused && video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA)) return;
    const { rate, jump } = this.#edge.order(performance.now(), video.currentTime, newest.start, newest.end);
    if (jump !== undefined) video.currentTime = jump;
    if (video.playbackRate !== rate) video.playbackRate = rate;
  }

  /** Nobody goes back in here: footage does that. While nobody looks the element stands still, and is overtaken. */
  #trim(end: number): void {
    const first = this.#sink.stretches()[0];
    if (!first || end - first.start < TRIM_AT) return;
    const { currentTime } = this.#sink.video;
    this.#sink.trim(end - currentTime < TRIM_AT ? Math.min(currentTime, end) - KEPT : end - TRIM_AT);
  }
}
