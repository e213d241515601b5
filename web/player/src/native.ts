// Live pictures by the browser's own HLS, where that is good: it has low latency and tells the wall clock.

import { nameOf, nativelyPlayable, withCodecs } from './codecs.js';
import { Failure } from './failure.js';
import type { Shown, Taken, Transport, Way } from './transport.js';

const TYPE = 'application/vnd.apple.mpegurl';

type Dated = HTMLVideoElement & { getStartDate?: () => Date };

/** Whether to leave HLS to the browser: it plays it and knows dates, or there is no other way. */
export function isNative(video: HTMLVideoElement, hasMediaSource: boolean): boolean {
  if (video.canPlayType(TYPE) === '') return false;
  return 'getStartDate' in video || !hasMediaSource;
}

export class NativeHlsTransport implements Transport {
  readonly name = 'hls' as const;
  #way: Way;
  #isOver = false;
  #played = false;

  constructor(way: Way) {
    this.#way = way;
    const { video, api, urls } = way;
    video.addEventListener('error', this.#failed);
    video.addEventListener('resize', this.#sized);
    video.src = withCodecs(api.url(urls.hls_url), nativelyPlayable(video));
  }

  close(): void {
    this.#isOver = true;
    this.#way.video.removeEventListener('error', this.#failed);
    this.#way.video.removeEventListener('resize', this.#sized);
    this.#way.video.pause();
  }

  release(): void {
    this.#way.video.removeAttribute('src');
    this.#way.video.load();
  }

  instantOf({ mediaTime }: Shown): Taken {
    const date = (this.#way.video as Dated).getStartDate?.().getTime();
    return { instant: date === undefined ? NaN : date + mediaTime * 1000, isEstimate: false };
  }

  catchUp(): void {
    const { video } = this.#way;
    const { seekable } = video;
    if (seekable.length) video.currentTime = seekable.end(seekable.length - 1);
  }

  readonly #sized = () => {
    this.#played = true;
    const { videoWidth: width, videoHeight: height } = this.#way.video;
    this.#way.hooks.info({ codec: nameOf(this.#way.urls.codec ?? ''), width, height });
  };

  readonly #failed = () => {
    if (this.#isOver || !this.#way.video.error) return;
    this.close();
    const words = 'The browser cannot play the live playlist.';
    this.#way.hooks.failed(new Failure(this.#played ? 'lost' : 'unusable', words));
  };
}
