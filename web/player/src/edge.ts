// How to stay near the newest picture without running dry: decides the speed of playback and when to jump.
//
// Owns: the aim, which is how far behind the newest picture to be right after one has arrived. It follows what arrives: the
// distance of pictures, how unevenly they come, and how often they came too late. Pure: time and positions are inputs. Media
// times are in seconds, times of arrival in milliseconds of a clock that only rises.

export interface EdgeOptions {
  /** Least distance, in seconds. */
  least: number;
  /** Most distance that unsteady arrival may lead to. */
  most: number;
}

/** What to do. */
export interface Order {
  rate: number;
  /** Media time to go to at once. */
  jump?: number;
}

/** Further behind than this, and this much further than the aim, is not made up for by speed. */
const TOO_FAR = 1.5;
const TOO_FAR_OFF = 0.6;
/** What the server had kept is passed in fast motion at first, so that there is a picture at once; more than so much of it is
 * not. */
const AT_FIRST_MS = 2000;
const PASSED_AT_FIRST = 4;
/** In so many seconds it would be passed, and no faster than this. */
const PASSED_WITHIN = 0.2;
const FASTEST = 8;
/** It has come by when media no longer arrives so many times faster than it is played. */
const AT_ONCE = 2;
const FAST = 1.05;
const SLOW = 0.97;
/** Speed changes this far off the aim and is ordinary again at the aim. */
const SLACK = 0.08;
/** Time that the decoder and the screen need. */
const MARGIN = 0.06;
/** What one arrival too late adds, and how long it takes to wear off, in seconds. */
const PENALTY = 0.06;
const WEARS_OFF = 20;
/** Unevenness and distance of arrivals are the greatest within this. */
const REMEMBERED_MS = 6000;
/** A hole shorter than this is a rounding of times. */
const EPSILON = 0.001;

interface Arrival {
  at: number;
  end: number;
}

export class Edge {
  #options: EdgeOptions;
  #arrivals: Arrival[] = [];
  #penalty = 0;
  #penaltyAt = 0;
  #began = NaN;
  #lag = NaN;
  #rate = 1;

  constructor(options: EdgeOptions) {
    this.#options = options;
  }

  /** Media up to `end` has become playable. */
  arrived(at: number, end: number): void {
    if (Number.isNaN(this.#began)) this.#began = at;
    const newest = this.#arrivals[this.#arrivals.length - 1];
    if (newest && end <= newest.end) return;
    const step = newest ? end - newest.end : 0;
    const isKept = newest && at - this.#began < AT_FIRST_MS && step > ((at - newest.at) / 1000) * AT_ONCE;
    // Of media that was kept the time of arrival says nothing; nor what came before about what comes now, where the camera was
    // away.
    if (isKept || step > TOO_FAR) this.#arrivals = [];
    this.#arrivals = [...this.#arrivals.filter((each) => at - each.at < REMEMBERED_MS), { at, end }];
  }

  /** The picture after the last was not there in time. */
  ranDry(at: number): void {
    this.#penalty = Math.min(this.#options.most, this.#wornOff(at) + PENALTY);
    this.#penaltyAt = at;
  }

  /** Distance from the newest picture to keep, in seconds. */
  aim(at: number): number {
    const { least, most } = this.#options;
    const wanted = this.#interval() + this.#unevenness() + MARGIN + this.#wornOff(at);
    return Math.min(most, Math.max(least, wanted));
  }

  /** What to do with the picture at `time`, while `start` to `end` is the newest stretch of media without a hole. */
  order(at: number, time: number, start: number, end: number): Order {
    const aim = this.aim(at);
    const goal = Math.max(start, end - aim);
    const lag = end - time;
    const isFirst = at - this.#began < AT_FIRST_MS;
    const outside = time < start - EPSILON || time > end + EPSILON;
    if (isFirst && time < start - EPSILON && end - start < aim + PASSED_AT_FIRST) return { rate: 1, jump: start };
    if (outside || lag > (isFirst ? aim + PASSED_AT_FIRST : Math.max(TOO_FAR, aim + TOO_FAR_OFF))) {
      this.#lag = NaN;
      this.#rate = 1;
      // Going to where one is would only interrupt.
      return Math.abs(goal - time) > EPSILON ? { rate: 1, jump: goal } : { rate: 1 };
    }
    if (isFirst && lag - aim > SLACK) {
      this.#lag = NaN;
      this.#rate = 1;
      return { rate: Math.min(FASTEST, 1 + (lag - aim) / PASSED_WITHIN) };
    }
    this.#lag = Number.isNaN(this.#lag) ? lag : this.#lag + (lag - this.#lag) * 0.2;
    this.#rate = this.#rateFor(this.#lag - aim);
    return { rate: this.#rate };
  }

  #rateFor(off: number): number {
    if (this.#rate === FAST && off > 0) return FAST;
    if (this.#rate === SLOW && off < 0) return SLOW;
    if (off > SLACK) return FAST;
    return off < -SLACK ? SLOW : 1;
  }

  #wornOff(at: number): number {
    return Math.max(0, this.#penalty - ((at - this.#penaltyAt) / 1000) * (PENALTY / WEARS_OFF));
  }

  /** Longest step by which media arrives. What is there at the beginning came at once. */
  #interval(): number {
    let longest = 0;
    this.#arrivals.forEach((arrival, index) => {
      const before = this.#arrivals[index - 1];
      if (before && index > 1) longest = Math.max(longest, arrival.end - before.end);
    });
    return longest;
  }

  /** By how much the latest arrivals were later than the earliest, against their media times. */
  #unevenness(): number {
    const delays = this.#arrivals.slice(1).map(({ at, end }) => at / 1000 - end);
    return delays.length ? Math.max(...delays) - Math.min(...delays) : 0;
  }
}
