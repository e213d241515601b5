// Live pictures as fragmented MP4 over a WebSocket. The server's side is described in its API under `watchWebSocket`.
//
// Media time 0 of the stream was captured at `started_at`. The element's time line is that of the first init; one that counts
// from another instant is shifted to it, so that a picture's time in the element always tells when it was captured.

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
  /** Capture of time 0 of the element; NaN before the first init. */
  #origin: Instant = NaN;
  #init: Init | null = null;
  /** Seconds by which media times are shifted, not yet given to the sink. */
  #offset: number | null = null;
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
      if (!this.#init) return;
      this.#sink.append(new Uint8Array(data), this.#offset);
      this.#offset = null;
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
    const started = instantOf(init.started_at);
    try {
      if (this.#init) this.#sink.changeType(init.mime);
      else this.#sink.open(init.mime);
    } catch (error) {
      this.#fail(Failure.of(error, 'unplayable'));
      return;
    }
    if (Number.isNaN(this.#origin)) this.#origin = started;
    this.#offset = (started - this.#origin) / 1000;
    this.#init = init;
    this.#way.hooks.info({ codec: nameOf(init.codec_string), width: init.width, height: init.height });
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
