// Watches a camera live: carries out what the machine decides.
//
// Owns: the transport that is open, and the timers of patience, waiting and of looking whether pictures still come. Decisions
// are in machine.ts.

import type { Api } from './api.js';
import { mediaSource } from './codecs.js';
import { Failure } from './failure.js';
import { HlsTransport } from './hls.js';
import { LiveMachine } from './machine.js';
import type { Action, Event } from './machine.js';
import { NativeHlsTransport, isNative } from './native.js';
import { firstPicture, play } from './screen.js';
import type { Screen } from './screen.js';
import { SocketTransport } from './socket.js';
import type { Opens, Shown, Taken, Transport, Way } from './transport.js';
import type { LiveUrls, MediaInfo, PlayerState, StreamName, TransportName } from './types.js';
import { WhepTransport } from './whep.js';

/** Set-ups that the server holds until a camera sends: browsers make six connections to an origin, and others need some. */
const MAX_HELD = 2;
let held = 0;

const LOOK_MS = 1000;
/** Without a new picture on screen for so long it is said that the camera stalls. */
const STILL_MS = 4000;
/** A stall that lasts is looked into that often: the connection may be dead. */
const DOUBT_MS = 10_000;

export interface LiveOptions {
  camera: string;
  stream: StreamName;
  transports: readonly TransportName[];
}

interface Hooks {
  /** State, reason or transport changed. */
  changed(): void;
  info(info: MediaInfo): void;
  /** A picture of a new transport is on screen. */
  shown(): void;
}

const OPENS: Record<TransportName, Opens> = {
  whep: (way) => new WhepTransport(way),
  ws: (way) => new SocketTransport(way),
  hls: (way) => (isNative(way.video, mediaSource() !== undefined) ? new NativeHlsTransport(way) : new HlsTransport(way)),
};

const describe = ({ codec = '', width = 0, height = 0 }: LiveUrls) => `${codec} ${width}x${height}`;

/** Counts a held set-up until the result is called or the signal is aborted. */
function hold(signal: AbortSignal): () => void {
  let isHeld = true;
  held += 1;
  const letGo = () => {
    if (isHeld) held -= 1;
    isHeld = false;
  };
  signal.addEventListener('abort', letGo);
  return letGo;
}

export class LiveView {
  #api: Api;
  #screen: Screen;
  #options: LiveOptions;
  #hooks: Hooks;
  #machine: LiveMachine;
  /** Ends what goes on for one decision of the machine. */
  #job = new AbortController();
  #transport: Transport | null = null;
  /** The transport whose picture is on screen. */
  #onScreen: Transport | null = null;
  #urls: LiveUrls | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #look: ReturnType<typeof setInterval> | undefined;
  #shownAt = 0;
  #doubtedAt = 0;
  #trouble = '';
  /** Whether pictures are to run. */
  isPaused = false;

  constructor(api: Api, screen: Screen, options: LiveOptions, hooks: Hooks) {
    this.#api = api;
    this.#screen = screen;
    this.#options = options;
    this.#hooks = hooks;
    this.#machine = new LiveMachine(options.transports);
  }

  get state(): PlayerState {
    return this.#machine.state;
  }

  get reason(): string {
    return this.#trouble || this.#machine.reason;
  }

  get transport(): TransportName | null {
    return this.#machine.transport;
  }

  start(): void {
    clearInterval(this.#look);
    this.#look = setInterval(() => this.#lookAfterPictures(), LOOK_MS);
    document.addEventListener('visibilitychange', this.#seen);
    this.#handle({ type: 'start' });
  }

  /** Stops watching; the last picture stays. */
  close(): void {
    clearInterval(this.#look);
    document.removeEventListener('visibilitychange', this.#seen);
    this.#handle({ type: 'stop' });
  }

  /** When a picture on screen was captured. */
  instantOf(shown: Shown): Taken {
    const taken = this.#onScreen?.instantOf(shown) ?? { instant: NaN, isEstimate: true };
    if (!taken.isEstimate && !Number.isNaN(taken.instant)) this.#api.clock.passed(taken.instant);
    return taken;
  }

  /** Goes to the newest picture. */
  catchUp(): void {
    this.#transport?.catchUp();
  }

  /** A picture is on screen. */
  sawPicture(): void {
    this.#shownAt = performance.now();
    if (this.#machine.state === 'stalled' && this.#transport === this.#onScreen) this.#handle({ type: 'resumed' });
  }

  #handle(event: Event): void {
    const before = this.#machine.state;
    const action = this.#machine.handle(event, performance.now());
    if (action.do !== 'keep') this.#drop();
    if (this.#machine.state !== before || action.do !== 'keep') this.#explain();
    this.#hooks.changed();
    this.#carryOut(action);
  }

  /** Ends what is going on. */
  #drop(): void {
    this.#job.abort();
    this.#job = new AbortController();
    clearTimeout(this.#timer);
    const transport = this.#transport;
    this.#transport = null;
    transport?.close();
    if (transport && transport !== this.#onScreen) transport.release();
  }

  #carryOut(action: Action): void {
    switch (action.do) {
      case 'ask':
        void this.#ask(this.#job.signal);
        break;
      case 'open':
        this.#open(action, this.#job.signal);
        break;
      case 'wait':
        this.#timer = setTimeout(() => this.#handle({ type: 'due' }), action.ms);
        break;
      default:
    }
  }

  async #ask(signal: AbortSignal): Promise<void> {
    const { camera, stream } = this.#options;
    try {
      this.#urls = await this.#api.liveUrls(camera, stream, signal);
    } catch (error) {
      if (!signal.aborted) this.#handle({ type: 'refused', failure: Failure.of(error, 'unavailable') });
      return;
    }
    if (signal.aborted) return;
    const { ready, not_for_webrtc: unfit } = this.#urls;
    const mayWait = held < MAX_HELD;
    this.#handle({ type: 'urls', ready, description: describe(this.#urls), unfit: unfit ? ['whep'] : [], mayWait });
  }

  #open({ transport: name, patience, early }: Action & { do: 'open' }, signal: AbortSignal): void {
    const video = this.#screen.back();
    const letGo = early ? hold(signal) : () => undefined;
    this.#timer = setTimeout(() => this.#handle({ type: 'late' }), patience);
    const mine = (act: () => void) => () => signal.aborted || act();
    const hooks: Way['hooks'] = {
      info: (info) => signal.aborted || this.#hooks.info(info),
      stalled: mine(() => this.#handle({ type: 'stalled', reason: '' })),
      resumed: mine(() => this.#handle({ type: 'resumed' })),
      failed: (failure) => signal.aborted || this.#handle({ type: 'failed', failure }),
    };
    try {
      if (!this.#urls) throw new Failure('unusable', 'No address is known.');
      this.#transport = OPENS[name]({ api: this.#api, urls: this.#urls, video, hooks });
    } catch (error) {
      this.#handle({ type: 'failed', failure: Failure.of(error, 'unusable') });
      return;
    }
    const transport = this.#transport;
    void play(video);
    firstPicture(video, signal).then(
      () => {
        letGo();
        if (signal.aborted) return;
        this.#opened(transport, video);
        if (early) void this.#describe(signal);
      },
      () => undefined,
    );
  }

  /** What a way carries that was opened before anybody knew. */
  async #describe(signal: AbortSignal): Promise<void> {
    const { camera, stream } = this.#options;
    const urls = await this.#api.liveUrls(camera, stream, signal).catch(() => null);
    if (urls && !signal.aborted) this.#handle({ type: 'described', description: describe(urls) });
  }

  #opened(transport: Transport, video: HTMLVideoElement): void {
    clearTimeout(this.#timer);
    this.#onScreen = transport;
    this.#shownAt = performance.now();
    this.#screen.show(video, () => transport.release());
    if (this.isPaused) video.pause();
    this.#handle({ type: 'opened' });
    this.#hooks.shown();
  }

  /** Nothing said that pictures have stopped, and none has come. */
  #lookAfterPictures(): void {
    const now = performance.now();
    const { state } = this.#machine;
    if ((state !== 'playing' && state !== 'stalled') || this.isPaused || document.hidden) {
      this.#shownAt = now;
      return;
    }
    if (now - this.#shownAt < STILL_MS) return;
    if (state === 'playing') this.#handle({ type: 'stalled', reason: '' });
    if (now - this.#shownAt > DOUBT_MS && now - this.#doubtedAt > DOUBT_MS) {
      this.#doubtedAt = now;
      void this.#doubt(this.#job.signal);
    }
  }

  /** Asks whether it is the camera; where it sends, the connection is dead. */
  async #doubt(signal: AbortSignal): Promise<void> {
    const { camera, stream } = this.#options;
    try {
      const { ready } = await this.#api.liveUrls(camera, stream, signal);
      if (!ready || signal.aborted || performance.now() - this.#shownAt < STILL_MS) return;
      this.#handle({ type: 'failed', failure: new Failure('lost', 'The connection was lost.') });
    } catch (error) {
      if (!signal.aborted) this.#handle({ type: 'failed', failure: Failure.of(error, 'unavailable') });
    }
  }

  /** The page is looked at again: time went on without it. */
  readonly #seen = () => {
    if (document.hidden || this.isPaused || this.#transport !== this.#onScreen) return;
    this.#shownAt = performance.now();
    this.catchUp();
    const { front } = this.#screen;
    if (front?.paused) void play(front);
  };

  /** Asks the server why there is nothing to be seen, to say more than that. */
  #explain(): void {
    this.#trouble = '';
    const { state } = this.#machine;
    if (state !== 'stalled' && state !== 'offline') return;
    const { signal } = this.#job;
    void this.#api.trouble(this.#options.camera, signal).then((trouble) => {
      if (signal.aborted || this.#machine.state !== state || !trouble) return;
      this.#trouble = trouble;
      this.#hooks.changed();
    });
  }
}
