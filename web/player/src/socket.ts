// Live pictures as fragmented MP4 over a WebSocket. The server's side is described in its API under `watchWebSocket`.
//
// Media time 0 of the stream was captured at `started_at`. The element's time line begins with the first picture that comes, so
// that it need not go anywhere to show it; what follows another init is shifted to the same line, so that a picture's time in
// the element always tells when it was captured.

import { describe, firstPicture } from './bmff.js';
import { nameOf, playable, takes, withCodecs } from './codecs.js';
import { Failure } from './failure.js';
import { LiveEdge } from './liveedge.js';
import { instantOf } from './playlist.js';
import { Sink } from './sink.js';
import type { Shown, Taken, Transport, Way } from './transport.js';
import type { Instant } from './types.js';

const EDGE = { least: 0.15, most: 1 };
/** Close codes by which the server says that the right to watch is over. */
const NO_MORE = [4401, 4403];

interface Init {
  type: 'init';
  mime: string;
  codec_string: string;
  width: number;
  height: number;
  started_at: string;
}
type Message = Init | { type: 'stalled' } | { type: 'resumed' } | { type: 'bye'; reason_class?: string; reason?: string };

export class SocketTransport implements Transport {
  readonly name = 'ws' as const;
  #way: Way;
  #sink: Sink;
  #edge: LiveEdge;
  #socket: WebSocket;
  /** Capture of time 0 of the element; NaN before the first picture. */
  #origin: Instant = NaN;
  #init: Init | null = null;
  /** The init segment, until the first picture behind it is there. */
  #head: Uint8Array | null = null;
  #isHead = false;
  #bye = '';
  #isOver = false;

  constructor(way: Way) {
    this.#way = way;
    const codecs = playable();
    if (!codecs.length) throw new Failure('unplayable', 'This browser plays no video by Media Source Extensions.');
    this.#sink = new Sink(way.video);
    this.#edge = new LiveEdge(this.#sink, EDGE);
    this.#sink.onfail = (failure) => this.#fail(failure);
    this.#socket = new WebSocket(withCodecs(way.api.socketUrl(way.urls.ws_url), codecs));
    this.#socket.binaryType = 'arraybuffer';
    this.#socket.onmessage = ({ data }) => this.#take(data as string | ArrayBuffer);
    this.#socket.onclose = ({ code }) => this.#closed(code);
  }

  close(): void {
    this.#isOver = true;
    this.#edge.close();
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }

  release(): void {
    this.#sink.close();
  }

  instantOf({ mediaTime }: Shown): Taken {
    return { instant: this.#origin + mediaTime * 1000, isEstimate: false };
  }

  catchUp(): void {
    this.#edge.catchUp();
  }

  #take(data: string | ArrayBuffer): void {
    if (typeof data !== 'string') {
      this.#append(new Uint8Array(data));
      return;
    }
    const message = JSON.parse(data) as Message;
    switch (message.type) {
      case 'init':
        this.#begin(message);
        break;
      case 'stalled':
        this.#way.hooks.stalled();
        break;
      case 'resumed':
        this.#way.hooks.resumed();
        break;
      case 'bye':
        this.#bye = message.reason ?? message.reason_class ?? '';
        break;
      // Later servers may say more.
      default:
    }
  }

  #begin(init: Init): void {
    if (!takes(init.mime)) {
      this.#fail(new Failure('unplayable', `The camera sends ${nameOf(init.codec_string)}, which this browser does not play.`));
      return;
    }
    try {
      if (this.#init) this.#sink.changeType(init.mime);
      else this.#sink.open(init.mime);
    } catch (error) {
      this.#fail(Failure.of(error, 'unplayable'));
      return;
    }
    this.#init = init;
    this.#isHead = true;
    this.#way.hooks.info({ codec: nameOf(init.codec_string), width: init.width, height: init.height });
  }

  /** After each init comes its segment, then fragments. */
  #append(bytes: Uint8Array): void {
    if (!this.#init) return;
    if (this.#isHead) {
      this.#head = bytes;
      this.#isHead = false;
      return;
    }
    if (this.#head) {
      const started = instantOf(this.#init.started_at);
      const { picture } = describe(this.#head);
      const first = (picture && firstPicture(bytes, picture)) ?? 0;
      if (Number.isNaN(this.#origin)) this.#origin = started + first * 1000;
      this.#sink.append(this.#head, (started - this.#origin) / 1000);
      this.#head = null;
    }
    this.#sink.append(bytes);
  }

  #closed(code: number): void {
    if (NO_MORE.includes(code)) this.#fail(new Failure('ended', this.#bye || 'This live view was ended.'));
    else if (this.#init) this.#fail(new Failure('lost', this.#bye || 'The connection was lost.'));
    // A browser does not tell why a WebSocket was refused.
    else this.#fail(new Failure('unusable', 'The WebSocket could not be opened.'));
  }

  #fail(failure: Failure): void {
    if (this.#isOver) return;
    this.close();
    this.#way.hooks.failed(failure);
  }
}
