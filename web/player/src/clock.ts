// The server's clock, as far as it can be told from here.
//
// The only clock that every answer of the server shows is the header `Date`, in whole seconds. One answer with `Date: d`, asked
// for at `a` and received at `b` by this clock, says that the server's clock is ahead of this one by something between
// `d - b` and `d + 1 s - a`. Each answer gives such an interval, and the truth lies in all of them: a few answers at different
// moments leave some ten milliseconds. A picture that has arrived gives another bound, for it was captured before. As long as
// the clocks may be equal they are taken to be: an offset is assumed only where it is proven.

/** Bounds older than this are dropped: clocks drift and are set. */
const KEPT_MS = 10 * 60_000;
const MOST_BOUNDS = 64;

interface Bound {
  at: number;
  least: number;
  most: number;
}

export class ServerClock {
  #bounds: Bound[] = [];
  #read: () => number;

  constructor(read: () => number = () => Date.now()) {
    this.#read = read;
  }

  /** This clock. */
  local(): number {
    return this.#read();
  }

  /** The server's clock. */
  now(): number {
    return this.#read() + this.offset;
  }

  /** How far the server's clock is ahead of this one, in milliseconds. */
  get offset(): number {
    const { least, most } = this.#common();
    if (least <= 0 && most >= 0) return 0;
    if (Number.isFinite(least) && Number.isFinite(most)) return (least + most) / 2;
    return Number.isFinite(least) ? least : most;
  }

  /** How far wrong that may be, in milliseconds; infinite while nothing is known. */
  get uncertainty(): number {
    const { least, most } = this.#common();
    return Math.max(0, most - this.offset, this.offset - least);
  }

  /** Notes an answer: its header `Date`, and when it was asked for and came. */
  answered(date: string | null, asked: number, came: number): void {
    const server = Date.parse(date ?? '');
    if (!Number.isNaN(server)) this.#add({ at: came, least: server - came, most: server + 1000 - asked });
  }

  /** Notes a message that was sent at an instant of the server's clock, came at one of this clock, over a path of this round trip. */
  heard(sent: number, came: number, roundTrip: number): void {
    const least = sent - came;
    const { least: known } = this.#common();
    const most = least + Math.max(roundTrip, 5);
    // The same message is read again and again.
    if (least > known || this.uncertainty > 500) this.#add({ at: this.#read(), least, most });
  }

  /** Notes that something made at an instant of the server's clock is here already. */
  passed(instant: number): void {
    const now = this.#read();
    const ahead = instant - now;
    const { least, most } = this.#common();
    // Ordinary arrivals say nothing; only what seems to come from the future does. The header weighs more than a camera's time.
    if (ahead > 0 && ahead > least && ahead <= most) this.#add({ at: now, least: ahead, most: Infinity });
  }

  #add(bound: Bound): void {
    const fresh = this.#bounds.filter((each) => bound.at - each.at < KEPT_MS && bound.at >= each.at);
    const fits = fresh.every((each) => each.least <= bound.most && bound.least <= each.most);
    // A bound that contradicts the others says that a clock was set.
    this.#bounds = fits ? [...fresh.slice(1 - MOST_BOUNDS), bound] : [bound];
  }

  #common(): { least: number; most: number } {
    return this.#bounds.reduce(
      (common, each) => ({ least: Math.max(common.least, each.least), most: Math.min(common.most, each.most) }),
      { least: -Infinity, most: Infinity },
    );
  }
}
