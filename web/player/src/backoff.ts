// How long to wait before the next try: longer each time, and never the same for everybody, so that the viewers of a server
// that comes back do not all arrive at once.

const FIRST_MS = 500;
const LONGEST_MS = 15_000;
/** Share of the wait that is left to chance. */
const JITTER = 0.5;

export class Backoff {
  #tries = 0;
  #random: () => number;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** The next wait, in milliseconds. */
  next(): number {
    const full = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#tries);
    this.#tries += 1;
    return Math.round(full * (1 - JITTER * this.#random()));
  }

  /** It worked. */
  reset(): void {
    this.#tries = 0;
  }
}
