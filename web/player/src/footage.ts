// Plays what was recorded, from any instant on: a playback session of the server's, its playlist of byte ranges, and Media
// Source Extensions. The element's time is wall time since the session's first picture, so holes in the footage are holes in
// the buffer; they are passed over.

import type { Api } from './api.js';
import { playable } from './codecs.js';
import { Failure } from './failure.js';
import { Loader } from './loader.js';
import type { MediaPlaylist, Segment } from './playlist.js';
import { Sink } from './sink.js';
import type { Shown, Taken } from './transport.js';
import type { Instant, MediaInfo, StreamName } from './types.js';

/** Length of a session; the next one begins where it ends. */
const WINDOW_MS = 30 * 60_000;
/** How much is fetched ahead of the picture on screen and kept behind it, in seconds. */
const AHEAD = 20;
const BEHIND = 30;
const LOOK_MS = 100;
/** A playlist that still grows is looked at again that often. */
const RELOAD_MS = 1000;
/** A hole that is longer is told. */
const TOLD_MS = 1000;
/** Rounding of media times, in seconds. */
const NEAR = 0.05;

interface Hooks {
  info(info: MediaInfo): void;
  /** Nothing was recorded between two instants; playback went on behind. */
  skipped(from: Instant, to: Instant): void;
  /** Everything up to here has been played. */
  finished(at: Instant): void;
  failed(failure: Failure): void;
}

export interface FootageOptions {
  camera: string;
  stream: StreamName;
}

export class Footage {
  readonly video: HTMLVideoElement;
  #api: Api;
  #options: FootageOptions;
  #hooks: Hooks;
  #sink: Sink;
  #loader: Loader;
  #life = new AbortController();
  /** Ends the loading for one place of the session. */
  #job = new AbortController();
  #session = '';
  #url = '';
  #list: MediaPlaylist | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;
  #target: Instant = NaN;
  #isLoaded = false;
  #isOver = false;
  #failure: Failure | null = null;

  constructor(api: Api, video: HTMLVideoElement, options: FootageOptions, hooks: Hooks) {
    this.#api = api;
    this.video = video;
    this.#options = options;
    this.#hooks = hooks;
    this.#sink = new Sink(video);
    this.#sink.onfail = (failure) => this.#fail(failure);
    this.#sink.onchange = () => this.#arrive();
    this.#loader = new Loader(api, this.#sink);
    this.#loader.oninfo = (info) => hooks.info(info);
  }

  /** Opens a session that holds an instant, and goes there. Resolves when it is there; rejects when there is no footage. */
  async open(instant: Instant): Promise<void> {
    const { signal } = this.#life;
    const { camera, stream } = this.#options;
    const wish = {
      from: rfc3339(instant),
      to: rfc3339(instant + WINDOW_MS),
      codec: playable(),
      ...(stream !== 'auto' && { stream }),
    };
    const session = await this.#api.playback(camera, wish, signal);
    this.#session = session.id;
    this.#url = this.#api.url(session.playlist_url);
    this.#list = await this.#loader.playlist(this.#url, signal);
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    const arrived = new Promise<void>((resolve, reject) => {
      this.video.addEventListener('seeked', () => resolve(), { once: true, signal });
      signal.addEventListener('abort', () => reject(this.#failure ?? (signal.reason as Error)));
    });
    this.seek(instant);
    await arrived;
  }

  /** Whether an instant can be gone to within this session. */
  covers(instant: Instant): boolean {
    const [first, last] = [this.#list?.segments[0], this.#list?.segments.at(-1)];
    return first !== undefined && last !== undefined && instant >= first.instant && instant < endOf(last);
  }

  /** Goes to an instant of the session, or to the footage behind it. */
  seek(instant: Instant): void {
    const segments = this.#list?.segments ?? [];
    const index = segments.findIndex((segment) => endOf(segment) > instant);
    const segment = segments[index];
    if (!segment) {
      this.#fail(new Failure('lost', 'There is no footage at that time.'));
      return;
    }
    this.#target = Math.max(instant, segment.instant);
    if (this.#arrive()) return;
    this.#job.abort();
    this.#job = new AbortController();
    this.#isLoaded = false;
    this.#sink.clear();
    this.#loader.restart();
    this.#load(index, this.#job.signal).catch((error: unknown) => this.#fail(Failure.of(error, 'lost')));
  }

  instantOf({ mediaTime }: Shown): Taken {
    return { instant: this.#loader.origin + mediaTime * 1000, isEstimate: false };
  }

  close(): void {
    this.#isOver = true;
    this.#life.abort();
    this.#job.abort();
    clearInterval(this.#timer);
    this.video.pause();
    if (this.#session) void this.#api.forget(`/api/v1/playback/sessions/${this.#session}`);
    this.#session = '';
  }

  release(): void {
    this.#sink.close();
  }

  /** Fetches segments from one on, as far ahead as is useful. */
  async #load(from: number, signal: AbortSignal): Promise<void> {
    let sequence = this.#list?.segments[from]?.sequence ?? 0;
    for (;;) {
      const segment = this.#list?.segments.find((each) => each.sequence === sequence);
      if (signal.aborted) return;
      if (!segment?.resource) {
        if (this.#list?.ended) break;
        await pause(RELOAD_MS, signal);
        this.#list = await this.#loader.playlist(this.#url, signal);
        continue;
      }
      if (this.#ahead() > AHEAD) {
        await pause(LOOK_MS * 5, signal);
        continue;
      }
      const { resource, init, instant, discontinuity } = segment;
      await this.#append({ resource, init, instant, anew: discontinuity }, signal);
      sequence += 1;
    }
    this.#isLoaded = true;
    this.#sink.end();
  }

  /** Footage that is gone by now is a hole like any other. */
  async #append(piece: Parameters<Loader['append']>[0], signal: AbortSignal): Promise<void> {
    try {
      await this.#loader.append(piece, signal);
    } catch (error) {
      if (!(error instanceof Failure) || error.code !== 'not_found') throw error;
    }
  }

  /** Seconds that are buffered behind the picture on screen. */
  #ahead(): number {
    if (!Number.isNaN(this.#target)) return 0;
    return (this.#sink.stretches().at(-1)?.end ?? 0) - this.video.currentTime;
  }

  /** Goes to where one wants to be as soon as there are pictures; tells whether one is there. */
  #arrive(): boolean {
    if (Number.isNaN(this.#target) || Number.isNaN(this.#loader.origin)) return false;
    const time = (this.#target - this.#loader.origin) / 1000;
    const there = this.#sink.stretches().find(({ start, end }) => time > start - NEAR && time < end - NEAR / 2);
    if (!there) return false;
    this.#target = NaN;
    this.video.currentTime = Math.max(time, there.start);
    return true;
  }

  /** Ten times a second: passes over holes, tells the end, lets go of what lies behind. */
  #look(): void {
    const { video } = this;
    if (!Number.isNaN(this.#target) || video.seeking) return;
    const stretches = this.#sink.stretches();
    const time = video.currentTime;
    const index = stretches.findIndex(({ start, end }) => time >= start - NEAR && time <= end + NEAR);
    const [here, next] = [stretches[index], stretches[index + 1]];
    if (here && next && here.end - time < NEAR && !video.paused) {
      video.currentTime = next.start + 0.001;
      const [from, to] = [here.end, next.start].map((at) => this.#loader.origin + at * 1000) as [number, number];
      if (to - from > TOLD_MS) this.#hooks.skipped(from, to);
    } else if (here && !next && this.#isLoaded && here.end - time < NEAR && !this.#isOver) {
      this.#isOver = true;
      this.#hooks.finished(this.#loader.origin + here.end * 1000);
    }
    this.#sink.trim(time - BEHIND);
  }

  #fail(failure: Failure): void {
    if (this.#isOver || this.#life.signal.aborted) return;
    this.#failure = failure;
    this.close();
    this.#hooks.failed(failure);
  }
}

const endOf = ({ instant, duration }: Segment) => instant + duration * 1000;

/** As the API takes it, with milliseconds. */
function rfc3339(instant: Instant): string {
  return new Date(instant).toISOString();
}

/** Waits; rejects when that is cancelled. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    });
  });
}
