// Media Source Extensions as a queue: bytes go in, in order; what is buffered can be asked for at any time.
//
// Owns: one media source with one source buffer, and the order of what is done to it. A source buffer does one thing at a time
// and throws when it is asked for a second; here everything waits its turn, and neighbouring appends become one. Knows neither
// playlists nor sockets.

import { mediaSource } from './codecs.js';
import { Failure } from './failure.js';

type Job =
  | { kind: 'append'; chunks: Uint8Array[]; offset: number | null }
  | { kind: 'type'; mime: string }
  | { kind: 'remove'; from: number; to: number };

/** A stretch of media without a hole, in seconds. */
export interface Stretch {
  start: number;
  end: number;
}

/** Neighbouring stretches that are no further apart than this are one: rounding of times. */
const TOUCHING = 0.02;

export class Sink {
  readonly video: HTMLVideoElement;
  /** Called after the buffer has changed. */
  onchange: () => void = () => undefined;
  /** Called once when the bytes cannot be shown. */
  onfail: (failure: Failure) => void = () => undefined;
  /** Whether media is wanted; only managed media sources say no, to spare a battery. */
  wanted = true;

  #source: MediaSource | null = null;
  #buffer: SourceBuffer | null = null;
  #jobs: Job[] = [];
  #mime = '';
  #url = '';
  #offset = 0;
  #isEnding = false;

  constructor(video: HTMLVideoElement) {
    this.video = video;
    video.addEventListener('error', this.#failed);
  }

  /** Attaches to the element; bytes may be appended at once. `duration` is that of the media, if it has one. */
  open(mime: string, duration = Infinity): void {
    const Source = mediaSource();
    if (!Source) throw new Failure('unplayable', 'This browser has no Media Source Extensions.');
    if (!Source.isTypeSupported(mime)) throw new Failure('unplayable', `This browser does not play ${mime}.`);
    this.#mime = mime;
    const source = new Source();
    this.#source = source;
    source.addEventListener('sourceopen', () => this.#opened(duration), { once: true });
    source.addEventListener('startstreaming', () => (this.wanted = true));
    source.addEventListener('endstreaming', () => (this.wanted = false));
    this.#url = URL.createObjectURL(source);
    // A managed source is given only where pictures cannot be sent elsewhere.
    this.video.disableRemotePlayback = true;
    this.video.src = this.#url;
  }

  /** Bytes of init or media segments. With `offset`, that is added to their media times from here on. */
  append(bytes: Uint8Array, offset: number | null = null): void {
    const last = this.#jobs[this.#jobs.length - 1];
    if (last?.kind === 'append' && offset === null) last.chunks.push(bytes);
    else this.#jobs.push({ kind: 'append', chunks: [bytes], offset });
    this.#work();
  }

  /** What follows is of another type. */
  changeType(mime: string): void {
    if (mime === this.#mime) return;
    this.#mime = mime;
    this.#jobs.push({ kind: 'type', mime });
    this.#work();
  }

  /** Lets go of media before `time`. */
  trim(time: number): void {
    const first = this.stretches()[0];
    if (!first || time - first.start < 1) return;
    this.#jobs.push({ kind: 'remove', from: 0, to: time });
    this.#work();
  }

  /** Lets go of everything, that which waits included. */
  clear(): void {
    this.#jobs = [];
    if (!this.stretches().length) return;
    this.#jobs.push({ kind: 'remove', from: 0, to: Infinity });
    this.#work();
  }

  /** Nothing follows what was appended. */
  end(): void {
    this.#isEnding = true;
    this.#work();
  }

  /** What is buffered, in order. */
  stretches(): Stretch[] {
    const ranges = this.#buffered();
    const list: Stretch[] = [];
    for (let index = 0; ranges && index < ranges.length; index += 1) {
      const [start, end] = [ranges.start(index), ranges.end(index)];
      const last = list[list.length - 1];
      if (last && start - last.end < TOUCHING) last.end = end;
      else list.push({ start, end });
    }
    return list;
  }

  /** Gives the element up. Its picture goes. */
  close(): void {
    this.onchange = this.onfail = () => undefined;
    this.video.removeEventListener('error', this.#failed);
    this.#jobs = [];
    this.#source = this.#buffer = null;
    if (!this.#url) return;
    URL.revokeObjectURL(this.#url);
    if (this.video.src === this.#url) {
      this.video.removeAttribute('src');
      this.video.load();
    }
  }

  #buffered(): TimeRanges | null {
    try {
      return this.#buffer?.buffered ?? null;
    } catch {
      // The source was detached.
      return null;
    }
  }

  #opened(duration: number): void {
    const source = this.#source;
    if (!source) return;
    try {
      this.#buffer = source.addSourceBuffer(this.#mime);
      source.duration = duration;
      this.#buffer.addEventListener('updateend', () => {
        this.onchange();
        this.#work();
      });
    } catch (error) {
      this.#fail(Failure.of(error, 'unplayable'));
      return;
    }
    this.#work();
  }

  #work(): void {
    const buffer = this.#buffer;
    if (!buffer || buffer.updating || this.#source?.readyState === 'closed') return;
    const job = this.#jobs.shift();
    if (!job) {
      if (this.#isEnding && this.#source?.readyState === 'open') this.#source.endOfStream();
      return;
    }
    try {
      this.#run(buffer, job);
    } catch (error) {
      if (error instanceof DOMException && error.name === 'QuotaExceededError' && job.kind === 'append') this.#makeRoom(job);
      else this.#fail(Failure.of(error, 'lost'));
    }
  }

  #run(buffer: SourceBuffer, job: Job): void {
    switch (job.kind) {
      case 'append':
        if (job.offset !== null && job.offset !== this.#offset) {
          buffer.timestampOffset = job.offset;
          this.#offset = job.offset;
        }
        buffer.appendBuffer(joined(job.chunks));
        break;
      case 'type':
        if (mediaSource()?.isTypeSupported(job.mime) !== true) {
          throw new Failure('unplayable', `This browser does not play ${job.mime}.`);
        }
        buffer.changeType(job.mime);
        this.#work();
        break;
      case 'remove':
        buffer.remove(job.from, job.to);
        break;
    }
  }

  /** The buffer is full: what lies behind goes, and the bytes are tried again. */
  #makeRoom(job: Job): void {
    const [first] = this.stretches();
    const keep = this.video.currentTime - 1;
    if (!first || first.start >= keep) {
      this.#fail(new Failure('lost', 'The buffer of the browser is full.'));
      return;
    }
    this.#jobs.unshift({ kind: 'remove', from: 0, to: keep }, job);
    this.#work();
  }

  readonly #failed = () => {
    const { error } = this.video;
    if (!error || this.video.src !== this.#url) return;
    const kind = error.code === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED ? 'unplayable' : 'lost';
    this.#fail(new Failure(kind, 'The browser cannot decode the pictures.'));
  };

  #fail(failure: Failure): void {
    this.#jobs = [];
    this.onfail(failure);
  }
}

function joined(chunks: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.byteLength;
  }
  return bytes;
}
