// Fetches what playlists list and appends it to a sink, each segment at its place on the wall clock.
//
// Owns: init segments that are known, the type of the sink, and the shift from media time to the element's time. The element's time counts from
// `origin`: a picture at `t` seconds was captured at `origin + t`. What a file itself counts from does not matter, and time
// without footage is a hole of the length that it had.

import { refusal } from './api.js';
import type { Api } from './api.js';
import { describe, firstPicture } from './bmff.js';
import type { Description, PictureTrack } from './bmff.js';
import { nameOf, takes } from './codecs.js';
import { Failure } from './failure.js';
import { parse } from './playlist.js';
import type { MediaPlaylist, Resource } from './playlist.js';
import type { Sink } from './sink.js';
import type { Instant, MediaInfo } from './types.js';

/** Shifts that differ by less are the same: rounding of times in playlists, in seconds. */
const SAME = 0.002;

/** A piece of media to append. */
export interface Piece {
  resource: Resource;
  init: Resource | null;
  /** When its first picture was captured; NaN where that is not said. */
  instant: Instant;
  /** Whether it does not go on from the piece before. */
  anew: boolean;
}

/** What an init segment is called by. */
const key = ({ uri, range }: Resource) => `${uri}#${range?.offset ?? 0}`;

interface Known {
  bytes: Uint8Array;
  says: Description;
  mime: string;
}

export class Loader {
  origin: Instant = NaN;
  /** Called when an init segment says what follows. */
  oninfo: (info: MediaInfo) => void = () => undefined;
  #api: Api;
  #sink: Sink;
  #inits = new Map<string, Known>();
  #init = '';
  #isOpen = false;
  #shift = NaN;

  constructor(api: Api, sink: Sink) {
    this.#api = api;
    this.#sink = sink;
  }

  async playlist(url: string, signal: AbortSignal, timeout?: number): Promise<MediaPlaylist> {
    const answer = await this.#api.fetch(url, { signal }, timeout);
    if (!answer.ok) throw await refusal(answer);
    const text = await answer.text();
    return parse(text, answer.url);
  }

  /** The bytes of a resource. */
  async bytes({ uri, range }: Resource, signal: AbortSignal, timeout?: number): Promise<Uint8Array> {
    const headers = range ? { Range: `bytes=${range.offset}-${range.offset + range.length - 1}` } : undefined;
    const answer = await this.#api.fetch(uri, { signal, ...(headers && { headers }), cache: 'default' }, timeout);
    if (!answer.ok) throw await refusal(answer);
    return new Uint8Array(await answer.arrayBuffer());
  }

  /** The sink was emptied or goes elsewhere: the next piece stands for itself. */
  restart(): void {
    this.#init = '';
    this.#shift = NaN;
  }

  /** Fetches a piece and what it needs, and appends it. */
  async append(piece: Piece, signal: AbortSignal, timeout?: number): Promise<void> {
    const [known, media] = await Promise.all([this.#initOf(piece, signal), this.bytes(piece.resource, signal, timeout)]);
    if (signal.aborted) return;
    const shift = this.#shiftFor(piece, media, known.says.picture);
    const name = piece.init ? key(piece.init) : '';
    if (name === this.#init) {
      this.#sink.append(media, shift);
      return;
    }
    this.#init = name;
    this.#prepare(known);
    this.#sink.append(known.bytes, shift);
    this.#sink.append(media);
  }

  /** Tells the sink what follows. */
  #prepare({ mime, says }: Known): void {
    const codec = nameOf(says.codecs[0] ?? '');
    if (!takes(mime)) throw new Failure('unplayable', `The camera sends ${codec}, which this browser does not play.`);
    if (this.#isOpen) this.#sink.changeType(mime);
    else this.#sink.open(mime);
    this.#isOpen = true;
    this.oninfo({ codec, width: says.width, height: says.height });
  }

  async #initOf({ init }: Piece, signal: AbortSignal): Promise<Known> {
    if (!init) throw new Failure('unplayable', 'The playlist names no init segment.');
    const known = this.#inits.get(key(init));
    if (known) return known;
    const bytes = await this.bytes(init, signal);
    const says = describe(bytes);
    const made = { bytes, says, mime: `video/mp4; codecs="${says.codecs.join(',')}"` };
    this.#inits.set(key(init), made);
    return made;
  }

  /** The shift to be given to the sink; `null` where it stays. */
  #shiftFor({ instant, anew }: Piece, media: Uint8Array, track: PictureTrack | null): number | null {
    if (Number.isNaN(instant) || !(anew || Number.isNaN(this.#shift))) return null;
    const first = track && firstPicture(media, track);
    if (first === null) return null;
    if (Number.isNaN(this.origin)) this.origin = instant - first * 1000;
    const shift = (instant - this.origin) / 1000 - first;
    if (Math.abs(shift - this.#shift) < SAME) return null;
    this.#shift = shift;
    return shift;
  }
}
