// What is known about where footage is: the coverage of a camera over the view, and the map between the media time of a
// file and wall time. Pure: no requests, no page.

/** The first index whose element satisfies a test that never becomes false again. */
function firstWhere(list, test) {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (test(list[middle])) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** What an instant is: `{kind: 'recorded' | 'missing' | 'idle', start, end, cause}`. Spans are in order and do not overlap. */
export function at(coverage, instant) {
  for (const [kind, spans] of [['recorded', coverage.ranges], ['missing', coverage.gaps]]) {
    const found = spans[firstWhere(spans, (each) => each.end > instant)];
    if (found && found.start <= instant) return { kind, ...found };
  }
  return { kind: 'idle' };
}

/** A gap near an instant, so that one thinner than a pixel can be pointed at; `null` when there is none within `reach`. */
export function gapNear(coverage, instant, reach) {
  const next = firstWhere(coverage.gaps, (gap) => gap.end > instant - reach);
  const gap = coverage.gaps[next];
  return gap && gap.start < instant + reach ? gap : null;
}

/**
 * The map of one file: parts follow one another in media time without a break, in wall time with holes. Made from the
 * parts of `video.json`; `media` is in seconds, `start` and `end` are instants.
 */
export class MediaMap {
  constructor(parts) {
    this.parts = parts;
  }

  get empty() {
    return this.parts.length === 0;
  }

  get start() {
    return this.parts[0].start;
  }

  get end() {
    return this.parts[this.parts.length - 1].end;
  }

  /** The part that is shown at a media time. */
  partAt(media) {
    // Half a millisecond absorbs the rounding of both sides.
    const next = firstWhere(this.parts, (part) => part.media > media + 0.0005);
    return this.parts[Math.max(0, next - 1)];
  }

  /** The instant shown at a media time, never outside of its part. */
  wallOf(media) {
    const part = this.partAt(media);
    return Math.min(part.end, Math.max(part.start, part.start + (media - part.media) * 1000));
  }

  /** Whether the file begins at or before an instant and goes on behind it, be there a hole or not. */
  spans(instant) {
    return !this.empty && this.start <= instant && instant < this.end;
  }

  /**
   * The media time for an instant. In a hole it is where the footage goes on, or for `direction` -1 `back` milliseconds
   * before it broke off; `null` when there is nothing on that side.
   */
  mediaOf(instant, direction = 1, back = 2000) {
    const next = firstWhere(this.parts, (part) => part.end > instant);
    const part = this.parts[next];
    if (part && part.start <= instant) return part.media + (instant - part.start) / 1000;
    if (direction >= 0) return part ? part.media : null;
    const before = this.parts[next - 1];
    if (!before) return null;
    return before.media + Math.max(0, before.end - back - before.start) / 1000;
  }

  /** The same without what lies behind an instant. */
  until(instant) {
    const before = this.parts.filter((part) => part.start < instant);
    return new MediaMap(before.map((part) => ({ ...part, end: Math.min(part.end, instant) })));
  }

  /**
   * The parts around an instant whose pictures are coded alike, which is what one decoder shows without being set up anew;
   * media time begins at the first of them.
   */
  alike(instant) {
    const last = this.parts.length - 1;
    const middle = Math.min(last, firstWhere(this.parts, (part) => part.end > instant));
    const fits = (index) => this.parts[index]?.codec === this.parts[middle].codec;
    let [from, to] = [middle, middle];
    while (fits(from - 1)) from -= 1;
    while (fits(to + 1)) to += 1;
    const origin = this.parts[from].media;
    return new MediaMap(this.parts.slice(from, to + 1).map((part) => ({ ...part, media: part.media - origin })));
  }
}
