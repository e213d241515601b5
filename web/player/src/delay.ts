// How long pictures were on their way, where only their RTP times and arrivals are known. Pure.
//
// RTP times run with the capture of pictures, but nobody tells what instant they count from. The picture that was fastest of
// late, arrival against RTP time, is taken to have come as fast as the path allows, half of a round trip; every other one
// took by so much longer as it is behind that. What all pictures lose before they are sent does not show: this is an estimate.

const RATE = 90_000;
const WRAP = 2 ** 32;
/** The fastest is looked for in this much of the past, so that clocks may drift. */
const SPAN_MS = 60_000;

export class Delay {
  #last: number | null = null;
  #wraps = 0;
  /** Least difference of arrival and RTP time in the span before and in this one, in milliseconds. */
  #before = Infinity;
  #least = Infinity;
  #began = NaN;

  /** By how many milliseconds a picture was slower than the fastest; its RTP time, and its arrival in milliseconds. */
  of(rtp: number, arrived: number): number {
    const difference = arrived - this.#unrolled(rtp);
    if (Number.isNaN(this.#began)) this.#began = arrived;
    if (arrived - this.#began > SPAN_MS) {
      this.#before = this.#least;
      this.#least = Infinity;
      this.#began = arrived;
    }
    this.#least = Math.min(this.#least, difference);
    return difference - Math.min(this.#least, this.#before);
  }

  #unrolled(rtp: number): number {
    if (this.#last !== null && rtp - this.#last < -WRAP / 2) this.#wraps += 1;
    if (this.#last !== null && rtp - this.#last > WRAP / 2) this.#wraps -= 1;
    this.#last = rtp;
    return ((rtp + this.#wraps * WRAP) / RATE) * 1000;
  }
}
