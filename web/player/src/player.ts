// The player: one camera, on one wall clock, live or in the past, in two stacked video elements.
//
// Owns: what is on screen and what comes next, and the clock of the picture on screen. Changing between live and the past, or
// from one session of footage to the next, never takes the picture away: the old one stays until the new one is there.
// Events: `statechange`, `timeupdate`, `infochange`, `picture` (something new is on screen), `skip` (a hole in the footage was
// passed; `detail` has `from` and `to`), `failure` (`detail` has `message`: a wish could not be met; what was on screen stays).

import { Api } from './api.js';
import { ServerClock } from './clock.js';
import { Failure } from './failure.js';
import { Footage } from './footage.js';
import { LiveView } from './live.js';
import { Screen, firstPicture, play } from './screen.js';
import type { Shown } from './transport.js';
import { TRANSPORTS } from './types.js';
import type { Instant, MediaInfo, PlayerState, StreamName, TransportName } from './types.js';

export interface PlayerOptions {
  camera: string;
  stream?: StreamName;
  /** Ways to try, in order. */
  transports?: readonly TransportName[];
  /** The server's address; without it, where the page came from. */
  base?: string;
  /** Credentials, sent in headers; without either, cookies are. */
  bearerToken?: string | undefined;
  apiKey?: string | undefined;
  muted?: boolean;
}

/** Closer to now than this is live: footage is on disk about a second after it was captured. */
const LIVE_WITHIN_MS = 1500;
/** A pause that lasts longer lets go of the connection. */
const LONG_PAUSE_MS = 60_000;
/** The clock is told this often at most. */
const TELL_MS = 100;
/** Latencies that differ by more are not of one course of things, in seconds. */
const FAR_OFF_S = 0.5;
const UNKNOWN: MediaInfo = { codec: '', width: 0, height: 0 };

export class Player extends EventTarget {
  #api: Api;
  #clock = new ServerClock();
  #screen: Screen;
  #options: PlayerOptions;
  /** Ends a seek that was overtaken by another wish. */
  #wish = new AbortController();
  #live: LiveView | null = null;
  /** Footage on screen, and footage that is being prepared. */
  #footage: Footage | null = null;
  #coming: Footage | null = null;
  #isLive = true;
  #isPaused = false;
  #isPreparing = false;
  #rate = 1;
  #instant: Instant = NaN;
  #latency = NaN;
  #isEstimate = false;
  #toldAt = 0;
  #info = UNKNOWN;
  #longPause: ReturnType<typeof setTimeout> | undefined;
  #reason = '';

  /** Puts its two video elements into `container`, which must be positioned. Nothing happens before `play` or `seek`. */
  constructor(container: HTMLElement, options: PlayerOptions) {
    super();
    this.#options = { ...options };
    this.#screen = new Screen(container);
    this.#screen.muted = options.muted ?? true;
    this.#screen.onshown = (shown) => this.#shown(shown);
    this.#api = new Api(options.base ?? '', () => this.#options, this.#clock);
  }

  /** Changes credentials; used from the next request on. */
  authorise({ bearerToken, apiKey }: Pick<PlayerOptions, 'bearerToken' | 'apiKey'>): void {
    this.#options = { ...this.#options, bearerToken, apiKey };
  }

  /** Changes what is watched; goes live there if it was live, or to the same instant. */
  watch(change: Partial<Pick<PlayerOptions, 'camera' | 'stream' | 'transports'>>): void {
    this.#options = { ...this.#options, ...change };
    if (!this.#live && !this.#footage && !this.#coming) return;
    const wanted = this.#isLive ? 'live' : this.#instant;
    if (change.camera !== undefined) this.#forget();
    void this.seek(wanted).catch(() => undefined);
  }

  get camera(): string {
    return this.#options.camera;
  }

  get state(): PlayerState {
    if (this.#isPaused && this.#screen.front) return 'paused';
    if (this.#isPreparing) return 'connecting';
    if (this.#isLive) return this.#live?.state ?? 'idle';
    return this.#footage ? 'playing' : 'idle';
  }

  /** Why, in words; '' where there is nothing to say. */
  get reason(): string {
    return (this.#isLive ? this.#live?.reason : '') || this.#reason;
  }

  /** Whether what is shown, or about to be, is live. */
  get live(): boolean {
    return this.#isLive;
  }

  /** When the picture on screen was captured; `null` where that is not known. */
  get time(): Date | null {
    return Number.isNaN(this.#instant) ? null : new Date(this.#instant);
  }

  /** The same in milliseconds since 1970 with a fraction; NaN where that is not known. */
  get instant(): Instant {
    return this.#instant;
  }

  /** From capture to screen, in seconds; NaN where that is not known, and while no live pictures come. */
  get latency(): number {
    return this.#isLive && this.state === 'playing' ? this.#latency : NaN;
  }

  /** Whether `latency` and `time` are estimates: by WebRTC browsers do not say when a picture was captured. */
  get latencyIsEstimate(): boolean {
    return this.#isEstimate;
  }

  /** How far wrong `latency` may be because of the two clocks, in seconds. */
  get latencyUncertainty(): number {
    return this.#clock.uncertainty / 1000;
  }

  /** The way by which live pictures come; `null` in the past and while there is none. */
  get transport(): TransportName | null {
    return this.#isLive ? (this.#live?.transport ?? null) : null;
  }

  get codec(): string {
    return this.#info.codec;
  }

  get width(): number {
    return this.#info.width;
  }

  get height(): number {
    return this.#info.height;
  }

  /** The element on screen; `null` while there is no picture. */
  get video(): HTMLVideoElement | null {
    return this.#screen.front;
  }

  get paused(): boolean {
    return this.#isPaused;
  }

  get muted(): boolean {
    return this.#screen.muted;
  }

  set muted(muted: boolean) {
    this.#screen.muted = muted;
    this.#tell('statechange');
  }

  /** Speed of footage; live pictures have one speed only. */
  get playbackRate(): number {
    return this.#isLive ? 1 : this.#rate;
  }

  set playbackRate(rate: number) {
    this.#rate = rate;
    if (this.#footage) this.#footage.video.playbackRate = rate;
    this.#tell('statechange');
  }

  /** Plays what it shows; live when it shows nothing yet. */
  play(): void {
    this.#isPaused = false;
    clearTimeout(this.#longPause);
    if (!this.#isLive && this.#footage) {
      void this.#start(this.#footage.video);
    } else if (this.#isLive) {
      const { front } = this.#screen;
      if (!this.#live || this.#live.state === 'idle' || this.#live.state === 'ended') {
        void this.seek('live');
      } else if (front) {
        this.#live.isPaused = false;
        this.#live.catchUp();
        void this.#start(front);
      }
    }
    this.#tell('statechange');
  }

  /** Keeps the picture on screen. */
  pause(): void {
    this.#isPaused = true;
    if (this.#live) this.#live.isPaused = true;
    this.#screen.front?.pause();
    clearTimeout(this.#longPause);
    this.#longPause = setTimeout(() => this.#isLive && this.#live?.close(), LONG_PAUSE_MS);
    this.#tell('statechange');
  }

  /** Goes to an instant, or to live. Resolves when the picture is there; rejects when there is none. */
  async seek(to: Date | number | 'live'): Promise<void> {
    this.#wish.abort();
    this.#wish = new AbortController();
    this.#isPreparing = false;
    this.#reason = '';
    this.#discard(this.#coming);
    this.#coming = null;
    const instant = to === 'live' ? NaN : Number(to);
    if (to === 'live' || Number.isNaN(instant) || instant > this.#clock.now() - LIVE_WITHIN_MS) this.#goLive();
    else await this.#goBack(instant, this.#wish.signal);
  }

  /** Stops everything and takes the picture away. */
  stop(): void {
    this.#wish.abort();
    this.#isPreparing = false;
    clearTimeout(this.#longPause);
    this.#forget();
    this.#isLive = true;
    this.#tell('statechange');
  }

  #goLive(): void {
    this.#isLive = true;
    this.#isPaused = false;
    if (this.#live && this.#live.state !== 'idle' && this.#live.state !== 'ended') {
      this.#live.isPaused = false;
      this.#live.catchUp();
      if (this.#screen.front) void this.#start(this.#screen.front);
      this.#tell('statechange');
      return;
    }
    const { camera, stream = 'auto', transports = TRANSPORTS } = this.#options;
    this.#live = new LiveView(this.#api, this.#screen, { camera, stream, transports }, {
      changed: () => this.#tell('statechange'),
      info: (info) => this.#setInfo(info),
      shown: () => {
        // Footage was played until now.
        this.#discard(this.#footage);
        this.#footage = null;
        this.#tell('picture');
      },
    });
    this.#live.start();
  }

  async #goBack(instant: Instant, signal: AbortSignal): Promise<void> {
    const wasLive = this.#isLive;
    this.#isLive = false;
    if (this.#footage?.covers(instant) && !wasLive) {
      this.#footage.seek(instant);
      if (!this.#isPaused) void this.#start(this.#footage.video);
      this.#tell('statechange');
      return;
    }
    // Its last picture stays, and the element behind is free.
    this.#live?.close();
    this.#live = null;
    this.#isPreparing = true;
    this.#tell('statechange');
    const { camera, stream = 'auto' } = this.#options;
    let refuse: (failure: Failure) => void = () => undefined;
    const refused = new Promise<never>((_resolve, reject) => (refuse = reject));
    const coming = new Footage(this.#api, this.#screen.back(), { camera, stream }, {
      info: (info) => this.#setInfo(info),
      skipped: (from, to) => this.dispatchEvent(new CustomEvent('skip', { detail: { from, to } })),
      finished: (at) => void this.#goBack(at + 1, this.#wish.signal).catch(() => undefined),
      failed: (failure) => (coming === this.#coming ? refuse(failure) : this.#footageFailed(failure)),
    });
    this.#coming = coming;
    try {
      await Promise.race([refused, this.#present(coming, instant, signal)]);
    } catch (error) {
      if (signal.aborted) return;
      this.#giveUp(coming, Failure.of(error, 'lost'), wasLive);
      throw error;
    }
    if (signal.aborted || this.#coming !== coming) return;
    this.#coming = null;
    const former = this.#footage;
    this.#footage = coming;
    this.#isPreparing = false;
    this.#screen.show(coming.video, () => coming.release());
    former?.close();
    if (this.#isPaused) coming.video.pause();
    coming.video.playbackRate = this.#rate;
    this.#latency = NaN;
    this.#tell('statechange');
    this.#tell('picture');
  }

  /** What was on screen stays, and live goes on. */
  #giveUp(coming: Footage, failure: Failure, wasLive: boolean): void {
    this.#discard(coming);
    this.#coming = null;
    this.#isPreparing = false;
    this.#reason = failure.message;
    this.dispatchEvent(new CustomEvent('failure', { detail: { message: failure.message } }));
    if (wasLive) this.#goLive();
    this.#tell('statechange');
  }

  /** Resolves when footage has the picture of an instant ready. */
  async #present(footage: Footage, instant: Instant, signal: AbortSignal): Promise<void> {
    await footage.open(instant);
    if (!this.#isPaused) void this.#start(footage.video);
    await firstPicture(footage.video, signal);
  }

  #footageFailed(failure: Failure): void {
    this.#reason = failure.message;
    this.dispatchEvent(new CustomEvent('failure', { detail: { message: failure.message } }));
    this.#tell('statechange');
  }

  async #start(video: HTMLVideoElement): Promise<void> {
    if (await play(video)) return;
    this.#isPaused = true;
    this.#tell('statechange');
  }

  #discard(footage: Footage | null): void {
    if (!footage) return;
    footage.close();
    if (this.#screen.front !== footage.video) footage.release();
  }

  /** Forgets the camera: nothing of it may stay on screen. */
  #forget(): void {
    this.#live?.close();
    this.#discard(this.#coming);
    this.#footage?.close();
    this.#live = this.#footage = this.#coming = null;
    this.#screen.clear();
    this.#instant = this.#latency = NaN;
    this.#setInfo(UNKNOWN);
  }

  #shown(shown: Shown): void {
    const { front } = this.#screen;
    const fromFootage = this.#footage !== null && front === this.#footage.video;
    const taken = fromFootage ? this.#footage?.instantOf(shown) : this.#live?.instantOf(shown);
    if (!fromFootage) this.#live?.sawPicture();
    // Of a live view that was left its last picture stays, with its time.
    if (!taken) return;
    const { instant, isEstimate } = taken;
    this.#instant = instant;
    this.#isEstimate = isEstimate;
    this.#noteLatency(fromFootage ? NaN : (this.#clock.now() - instant) / 1000);
    const now = performance.now();
    if (now - this.#toldAt < TELL_MS) return;
    this.#toldAt = now;
    this.#tell('timeupdate');
  }

  /** Evened out, unless it is another one altogether. */
  #noteLatency(latency: number): void {
    const known = this.#latency;
    this.#latency = Math.abs(latency - known) < FAR_OFF_S ? known + (latency - known) * 0.1 : latency;
  }

  #setInfo(info: MediaInfo): void {
    this.#info = info;
    this.#tell('infochange');
  }

  #tell(name: string): void {
    this.dispatchEvent(new Event(name));
  }
}
