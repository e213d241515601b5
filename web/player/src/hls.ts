// Live pictures by LL-HLS (second edition of RFC 8216) and Media Source Extensions: a loader of its own, for browsers whose
// HLS is slow or that have none. Parts are fetched as soon as they are there: the playlist is asked for before it has the next
// part, and the server answers when it has.

import { playable, withCodecs } from './codecs.js';
import { Failure } from './failure.js';
import { Loader } from './loader.js';
import type { Piece } from './loader.js';
import { LiveEdge } from './liveedge.js';
import type { MediaPlaylist, Segment } from './playlist.js';
import { Sink } from './sink.js';
import type { Shown, Taken, Transport, Way } from './transport.js';

/** Unsteady arrival leads no further away from the newest picture than this, in seconds. */
const MOST = 3;
/** The server keeps a request waiting for three target durations. */
const PATIENCE_MS = 20_000;
const PLAIN_RELOAD_MS = 500;

/** Where one is in the playlist: a segment, and the next part of it. */
interface Place {
  sequence: number;
  part: number;
}

export class HlsTransport implements Transport {
  readonly name = 'hls' as const;
  #way: Way;
  #sink: Sink;
  #loader: Loader;
  #edge: LiveEdge | null = null;
  #cancel = new AbortController();
  #url: string;
  #isOver = false;
  #isStalled = false;

  constructor(way: Way) {
    this.#way = way;
    const codecs = playable();
    if (!codecs.length) throw new Failure('unplayable', 'This browser plays no video by Media Source Extensions.');
    this.#url = withCodecs(way.api.url(way.urls.hls_url), codecs);
    this.#sink = new Sink(way.video);
    this.#sink.onfail = (failure) => this.#fail(failure);
    this.#loader = new Loader(way.api, this.#sink);
    this.#loader.oninfo = (info) => way.hooks.info(info);
    this.#run().catch((error: unknown) => this.#fail(Failure.of(error, 'lost')));
  }

  close(): void {
    this.#isOver = true;
    this.#edge?.close();
    this.#cancel.abort();
  }

  release(): void {
    this.#sink.close();
  }

  instantOf({ mediaTime }: Shown): Taken {
    return { instant: this.#loader.origin + mediaTime * 1000, isEstimate: false };
  }

  catchUp(): void {
    this.#edge?.catchUp();
  }

  async #run(): Promise<void> {
    const { signal } = this.#cancel;
    // Asked for the very first part the server answers as soon as it has any, else only when a segment is complete.
    let list = await this.#loader.playlist(this.#from({ sequence: 0, part: 0 }), signal, PATIENCE_MS);
    let place = start(list);
    this.#edge = new LiveEdge(this.#sink, { least: list.holdBack || list.targetDuration, most: MOST });
    while (!signal.aborted) {
      for (const { piece, next } of following(list, place)) {
        await this.#loader.append(piece, signal, PATIENCE_MS);
        place = next;
      }
      if (list.ended) throw new Failure('lost', 'The live view has ended.');
      list = await this.#reload(list, place, signal);
      place = inside(list, place);
    }
  }

  /** The playlist that has a place. */
  #from({ sequence, part }: Place): string {
    return `${this.#url}${this.#url.includes('?') ? '&' : '?'}_HLS_msn=${sequence}&_HLS_part=${part}`;
  }

  async #reload(list: MediaPlaylist, place: Place, signal: AbortSignal): Promise<MediaPlaylist> {
    if (!list.canBlock) {
      await new Promise((resolve) => setTimeout(resolve, PLAIN_RELOAD_MS));
      return this.#loader.playlist(this.#url, signal);
    }
    try {
      const next = await this.#loader.playlist(this.#from(place), signal, PATIENCE_MS);
      if (this.#isStalled) this.#way.hooks.resumed();
      this.#isStalled = false;
      return next;
    } catch (error) {
      // The camera is away; the server says so instead of answering. The place stays good.
      if (!(error instanceof Failure) || error.code !== 'busy') throw error;
      if (!this.#isStalled) this.#way.hooks.stalled();
      this.#isStalled = true;
      return list;
    }
  }

  #fail(failure: Failure): void {
    if (this.#isOver) return;
    this.close();
    this.#way.hooks.failed(failure);
  }
}

/** Where to begin: at the last part that stands for itself. */
function start(list: MediaPlaylist): Place {
  for (const segment of [...list.segments].reverse()) {
    for (let part = segment.parts.length - 1; part >= 0; part -= 1) {
      if (segment.parts[part]?.independent) return { sequence: segment.sequence, part };
    }
    if (!segment.parts.length) return { sequence: segment.sequence, part: 0 };
  }
  return { sequence: list.segments[0]?.sequence ?? 0, part: 0 };
}

/** A whole segment, or the part of that number. */
function piece({ init, instant, discontinuity, parts, resource }: Segment, part: number): Piece | null {
  const bytes = part < 0 ? resource : parts[part];
  if (!bytes) return null;
  const before = parts.slice(0, Math.max(0, part)).reduce((sum, { duration }) => sum + duration, 0);
  return { resource: bytes, init, instant: instant + before * 1000, anew: part <= 0 && discontinuity };
}

/** What a playlist has from a place on, and the place behind each. */
function* following(list: MediaPlaylist, from: Place): Generator<{ piece: Piece; next: Place }> {
  for (const segment of list.segments) {
    const { sequence, resource, parts } = segment;
    if (sequence < from.sequence) continue;
    const behind = { sequence: sequence + 1, part: 0 };
    const first = sequence === from.sequence ? from.part : 0;
    // A whole segment is one request; of one that was begun the parts that are missing.
    const isWhole = resource !== null && (first === 0 || !parts.length);
    const wanted = isWhole ? [-1] : parts.keys();
    for (const part of wanted) {
      const found = part < first && !isWhole ? null : piece(segment, part);
      if (!found) continue;
      const isLast = isWhole || (resource !== null && part === parts.length - 1);
      yield { piece: found, next: isLast ? behind : { sequence, part: part + 1 } };
    }
  }
}

/** A place that the playlist still has or will have; one that was overtaken goes on at the newest. */
function inside(list: MediaPlaylist, place: Place): Place {
  const [first, last] = [list.segments[0], list.segments.at(-1)];
  if (!first || !last) return place;
  if (place.sequence < first.sequence || place.sequence > last.sequence + 1) return start(list);
  const segment = list.segments.find(({ sequence }) => sequence === place.sequence);
  // All of it was read before it was complete.
  if (segment?.resource && segment.parts.length && place.part >= segment.parts.length) return { sequence: place.sequence + 1, part: 0 };
  return place;
}
