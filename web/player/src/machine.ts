// What to do next to watch a camera live: which way to try, when to try again, when to stop.
//
// Owns: the order of transports, which of them failed in this round, the waits between rounds, and the state that people see.
// Contract: `handle(event, now)` gives what is to be done; everything that was going on before is over when that is anything
// but `keep`. Pure: it neither asks nor opens nor reads a clock. Times are in milliseconds.

import { Backoff } from './backoff.js';
import { Failure } from './failure.js';
import type { PlayerState, TransportName } from './types.js';

export type Event =
  | { type: 'start' }
  /** The answer to `ask`. `mayWait`: a way may be opened before the camera sends, and be held until then. */
  | { type: 'urls'; ready: boolean; description: string; unfit?: readonly TransportName[]; mayWait?: boolean }
  /** What a way carries that was opened before the camera sent. */
  | { type: 'described'; description: string }
  | { type: 'refused'; failure: Failure }
  /** The first picture of a transport is there. */
  | { type: 'opened' }
  | { type: 'stalled'; reason: string }
  | { type: 'resumed' }
  | { type: 'failed'; failure: Failure }
  /** The patience of `open` is over without a picture. */
  | { type: 'late' }
  /** The time of `wait` is over. */
  | { type: 'due' }
  | { type: 'stop' };

export type Action =
  | { do: 'ask' }
  /** `early`: the camera does not send yet. */
  | { do: 'open'; transport: TransportName; patience: number; early?: true }
  | { do: 'wait'; ms: number }
  | { do: 'rest' }
  | { do: 'keep' };

/** How long a way may take to its first picture while the camera sends. */
const PATIENCE: Record<TransportName, number> = { whep: 3000, ws: 6000, hls: 10_000 };
/** Without a camera no way is tried: it is asked for again, often while it may just be connecting and send its first group. */
const FIRST_CAMERA_WAIT = 100;
const FIRST_GROUP = 2500;
const CAMERA_WAIT = 300;
const LONGEST_CAMERA_WAIT = 3000;
/** Ways whose set-up the server answers when the first picture is there. */
const HELD: readonly TransportName[] = ['whep', 'ws'];
/** A camera that takes longer is said to be away. */
const CAMERA_PATIENCE = 5000;
/** Who has watched for so long has not just come back from a failure. */
const SETTLED = 10_000;
/** A server that is about to stop ends live views first. */
const LEAVE_TIME = 700;

const KEEP: Action = { do: 'keep' };
const NO_PICTURE = 'No picture has come.';
const SILENT = 'The camera sends no pictures.';

export class LiveMachine {
  state: PlayerState = 'idle';
  /** Why, in words; '' where there is nothing to say. */
  reason = '';
  transport: TransportName | null = null;

  #order: readonly TransportName[];
  #backoff: Backoff;
  #failed = new Map<TransportName, Failure>();
  /** The way that worked last. */
  #proven: TransportName | null = null;
  #openedAt = NaN;
  /** Since when there has been no camera. */
  #absentSince = NaN;
  #description = '';
  /** The way was opened before the camera sent: that it brings nothing is the camera's doing. */
  #isEarly = false;
  /** Ways that do not carry these pictures: the last to be tried, for the server may have others. */
  #unfit: readonly TransportName[] = [];
  /** The server took leave without a reason, of pictures of this description. */
  #dismissed: string | null = null;

  constructor(order: readonly TransportName[], backoff = new Backoff()) {
    this.#order = order;
    this.#backoff = backoff;
  }

  handle(event: Event, now: number): Action {
    switch (event.type) {
      case 'start':
        this.#failed.clear();
        return this.#ask();
      case 'stop':
        this.#become('idle');
        return { do: 'rest' };
      case 'due':
        return this.#ask();
      case 'urls':
        this.#unfit = event.unfit ?? [];
        return this.#urls(event, now);
      case 'described':
        this.#description = event.description;
        return KEEP;
      case 'refused':
        this.#dismissed = null;
        return this.#over(event.failure);
      case 'opened':
        this.#isEarly = false;
        this.#absentSince = NaN;
        this.#openedAt = now;
        this.#proven = this.transport;
        this.#failed.clear();
        this.#become('playing');
        return KEEP;
      case 'stalled':
        if (this.state === 'playing' || this.state === 'stalled') this.#become('stalled', event.reason || SILENT);
        return KEEP;
      case 'resumed':
        if (this.state === 'stalled') this.#become('playing');
        return KEEP;
      case 'late':
        if (this.#isEarly) return this.#await(now);
        return this.#next(new Failure('unusable', NO_PICTURE));
      case 'failed':
        return this.#lost(event.failure, now);
    }
  }

  #ask(): Action {
    this.transport = null;
    this.#isEarly = false;
    this.#openedAt = NaN;
    if (this.state !== 'offline' && this.state !== 'connecting') this.#become('connecting');
    return { do: 'ask' };
  }

  #urls({ ready, description, mayWait }: { ready: boolean; description: string; mayWait?: boolean }, now: number): Action {
    const dismissed = this.#dismissed;
    this.#dismissed = null;
    if (ready && dismissed === description) return this.#end('The server ended this live view.');
    if (!ready) return this.#early(mayWait === true, now) ?? this.#await(now);
    this.#absentSince = NaN;
    this.#description = description;
    return this.#open();
  }

  /** A stream that is not running takes a moment to its first picture: what a way has to set up is done meanwhile, once. */
  #early(mayWait: boolean, now: number): Action | null {
    const [transport] = this.#ways();
    if (!mayWait || !transport || !HELD.includes(transport) || !Number.isNaN(this.#absentSince)) return null;
    this.#absentSince = now;
    this.#isEarly = true;
    this.transport = transport;
    return { do: 'open', transport, patience: FIRST_GROUP + PATIENCE[transport], early: true };
  }

  #await(now: number): Action {
    this.#isEarly = false;
    if (Number.isNaN(this.#absentSince)) this.#absentSince = now;
    const waited = now - this.#absentSince;
    if (waited > CAMERA_PATIENCE) this.#become('offline', SILENT);
    const ms = waited < FIRST_GROUP ? FIRST_CAMERA_WAIT : Math.min(LONGEST_CAMERA_WAIT, Math.max(CAMERA_WAIT, waited / 4));
    return { do: 'wait', ms };
  }

  /** The next way of this round. */
  #open(): Action {
    this.#isEarly = false;
    const [transport] = this.#ways();
    if (!transport) return this.#roundOver();
    this.transport = transport;
    return { do: 'open', transport, patience: PATIENCE[transport] };
  }

  /** Those that are left in this round, the best first. */
  #ways(): readonly TransportName[] {
    const left = this.#order.filter((each) => !this.#failed.has(each));
    const rank = (each: TransportName) => (this.#unfit.includes(each) ? 2 : each === this.#proven ? 0 : 1);
    return left.sort((a, b) => rank(a) - rank(b));
  }

  #next(failure: Failure): Action {
    if (this.transport) this.#failed.set(this.transport, failure);
    return this.#open();
  }

  /** No way has worked. What cannot be played says more than what could not be reached. */
  #roundOver(): Action {
    const failures = [...this.#failed.values()];
    const telling = failures.find(({ kind, code }) => kind === 'unplayable' && code) ?? failures.find(({ kind }) => kind === 'unplayable');
    this.#failed.clear();
    this.#proven = null;
    return this.#wait((telling ?? failures.at(-1))?.message ?? NO_PICTURE);
  }

  #lost(failure: Failure, now: number): Action {
    const played = now - this.#openedAt;
    if (this.#isEarly && failure.kind !== 'ended') return this.#lostEarly(failure, now);
    if (failure.kind === 'ended' || failure.kind === 'unavailable') return this.#over(failure);
    if (Number.isNaN(played)) return this.#next(failure);
    if (played > SETTLED) this.#backoff.reset();
    if (failure.code === 'closed_by_server') {
      this.#dismissed = this.#description;
      this.#become('connecting', failure.message);
      return { do: 'wait', ms: LEAVE_TIME };
    }
    // What was shown until now and is not any more is shown another way, perhaps.
    if (failure.kind === 'unplayable') return this.#next(failure);
    return this.#wait(failure.message, 'connecting');
  }

  /** The camera sends by now, and not what this way carries; or nothing is known of it yet. */
  #lostEarly(failure: Failure, now: number): Action {
    if (failure.kind === 'unplayable' && this.transport) {
      this.#failed.set(this.transport, failure);
      return this.#ask();
    }
    return this.#await(now);
  }

  #over(failure: Failure): Action {
    return failure.kind === 'ended' ? this.#end(failure.message) : this.#wait(failure.message);
  }

  #end(reason: string): Action {
    this.#become('ended', reason);
    return { do: 'rest' };
  }

  #wait(reason: string, state: PlayerState = 'offline'): Action {
    this.#become(state, reason);
    return { do: 'wait', ms: this.#backoff.next() };
  }

  #become(state: PlayerState, reason = ''): void {
    this.state = state;
    this.reason = reason;
    if (state !== 'playing' && state !== 'stalled') this.transport = state === 'connecting' ? this.transport : null;
  }
}
