// Media playlists as text in, structure out (RFC 8216 and its second edition). Pure. What the server does not write is not
// read: no master playlists, no encryption, no delta updates.

/** A range of bytes. */
export interface ByteRange {
  offset: number;
  length: number;
}

/** What an init segment or a media segment is fetched by. */
export interface Resource {
  uri: string;
  range?: ByteRange;
}

/** A part of a segment. */
export interface Part extends Resource {
  duration: number;
  independent: boolean;
}

/** A media segment, or the parts of the one that is being made. */
export interface Segment {
  sequence: number;
  /** `null` while it is being made. */
  resource: Resource | null;
  duration: number;
  /** Instant of its first picture, in milliseconds since 1970; NaN where the playlist does not say. */
  instant: number;
  init: Resource | null;
  discontinuity: boolean;
  parts: Part[];
}

export interface MediaPlaylist {
  targetDuration: number;
  partTarget: number;
  /** Seconds from the end at which to play; 0 where the playlist does not say. */
  holdBack: number;
  canBlock: boolean;
  segments: Segment[];
  /** Nothing is added any more. */
  ended: boolean;
  /** Where to begin, in seconds from the begin; `null` where the playlist does not say. */
  start: number | null;
}

/** The attributes of a tag (4.2). */
export function attributes(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const match of text.matchAll(/([A-Z0-9-]+)=("([^"]*)"|[^,]*)/g)) found.set(match[1] ?? '', match[3] ?? match[2] ?? '');
  return found;
}

/** RFC 3339 with microseconds, which `Date.parse` would cut to milliseconds. */
export function instantOf(text: string): number {
  const found = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:?\d\d)$/.exec(text.trim());
  if (!found) return NaN;
  return Date.parse(`${found[1] ?? ''}${found[3] ?? ''}`) + Number(`0${found[2] ?? ''}`) * 1000;
}

/** Reads a playlist; `base` is its own address. Throws where it is none. */
export function parse(text: string, base: string): MediaPlaylist {
  if (!text.startsWith('#EXTM3U')) throw new Error('this is no playlist');
  return new Reader(base).read(text);
}

class Reader {
  #base: string;
  #list: MediaPlaylist = {
    targetDuration: 6,
    partTarget: 0,
    holdBack: 0,
    canBlock: false,
    segments: [],
    ended: false,
    start: null,
  };
  #sequence = 0;
  #init: Resource | null = null;
  #next = fresh();
  /** Where a range without an offset begins: behind the one before of the same resource (4.3.2.2). */
  #rangeEnd = 0;
  #lastUri = '';

  constructor(base: string) {
    this.#base = base;
  }

  read(text: string): MediaPlaylist {
    for (const raw of text.split('\n')) {
      const line = raw.trim();
      if (line.startsWith('#EXT')) this.#tag(line);
      else if (line && !line.startsWith('#')) this.#segment(line);
    }
    if (this.#next.parts.length) this.#push(null);
    return this.#list;
  }

  #tag(line: string): void {
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const rest = colon < 0 ? '' : line.slice(colon + 1);
    const list = this.#list;
    switch (name) {
      case '#EXT-X-TARGETDURATION':
        list.targetDuration = Number(rest);
        break;
      case '#EXT-X-PART-INF':
        list.partTarget = Number(attributes(rest).get('PART-TARGET') ?? 0);
        break;
      case '#EXT-X-SERVER-CONTROL': {
        const control = attributes(rest);
        list.canBlock = control.get('CAN-BLOCK-RELOAD') === 'YES';
        list.holdBack = Number(control.get('PART-HOLD-BACK') ?? control.get('HOLD-BACK') ?? 0);
        break;
      }
      case '#EXT-X-MEDIA-SEQUENCE':
        this.#sequence = Number(rest);
        break;
      case '#EXT-X-START': {
        const offset = Number(attributes(rest).get('TIME-OFFSET'));
        if (Number.isFinite(offset)) list.start = offset;
        break;
      }
      case '#EXT-X-ENDLIST':
        list.ended = true;
        break;
      case '#EXT-X-DISCONTINUITY':
        this.#next.discontinuity = true;
        break;
      case '#EXT-X-MAP': {
        const map = attributes(rest);
        this.#init = this.#resource(map.get('URI') ?? '', range(map.get('BYTERANGE') ?? '', 0));
        break;
      }
      case '#EXT-X-PROGRAM-DATE-TIME':
        this.#next.instant = instantOf(rest);
        break;
      case '#EXTINF':
        this.#next.duration = parseFloat(rest);
        break;
      case '#EXT-X-BYTERANGE':
        this.#next.range = rest;
        break;
      case '#EXT-X-PART': {
        const part = attributes(rest);
        this.#next.parts.push({
          ...this.#resource(part.get('URI') ?? '', range(part.get('BYTERANGE') ?? '', 0)),
          duration: Number(part.get('DURATION') ?? 0),
          independent: part.get('INDEPENDENT') === 'YES',
        });
        break;
      }
      default:
    }
  }

  #segment(uri: string): void {
    const bytes = range(this.#next.range, uri === this.#lastUri ? this.#rangeEnd : 0);
    this.#lastUri = uri;
    this.#rangeEnd = bytes ? bytes.offset + bytes.length : 0;
    this.#push(this.#resource(uri, bytes));
  }

  #push(resource: Resource | null): void {
    const { duration, instant, discontinuity, parts } = this.#next;
    const sum = parts.reduce((total, part) => total + part.duration, 0);
    this.#list.segments.push({
      sequence: this.#sequence,
      resource,
      duration: resource ? duration : sum,
      instant,
      init: this.#init,
      discontinuity,
      parts,
    });
    this.#sequence += 1;
    this.#next = fresh();
  }

  #resource(uri: string, bytes: ByteRange | null): Resource {
    const whole = new URL(uri, this.#base).href;
    return bytes ? { uri: whole, range: bytes } : { uri: whole };
  }
}

interface Next {
  duration: number;
  instant: number;
  discontinuity: boolean;
  parts: Part[];
  range: string;
}

const fresh = (): Next => ({ duration: 0, instant: NaN, discontinuity: false, parts: [], range: '' });

/** `LENGTH[@OFFSET]`. */
function range(text: string, follows: number): ByteRange | null {
  const found = /^(\d+)(?:@(\d+))?$/.exec(text.trim());
  if (!found) return null;
  return { length: Number(found[1]), offset: found[2] === undefined ? follows : Number(found[2]) };
}
