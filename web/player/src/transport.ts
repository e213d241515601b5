// What every way for live pictures has in common. A transport plays into one video element, once: it is opened, tells what
// happens, and is closed. What follows from a failure is decided elsewhere (machine.ts).

import type { Api } from './api.js';
import type { Failure } from './failure.js';
import type { Instant, LiveUrls, MediaInfo, TransportName } from './types.js';

/** What a picture on screen is known by: the metadata of `requestVideoFrameCallback` as far as there is any. */
export interface Shown {
  mediaTime: number;
  captureTime?: number;
  receiveTime?: number;
  rtpTimestamp?: number;
}

/** When a picture was captured; NaN where that is not known. */
export interface Taken {
  instant: Instant;
  /** Whether that is a guess, if a good one. */
  isEstimate: boolean;
}

export interface Hooks {
  /** Coding and size became known, or others. */
  info(info: MediaInfo): void;
  /** The server says that the camera sends nothing. */
  stalled(): void;
  /** It sends again. */
  resumed(): void;
  /** It is over. Told at most once, and not after `close`. */
  failed(failure: Failure): void;
}

export interface Way {
  api: Api;
  urls: LiveUrls;
  video: HTMLVideoElement;
  hooks: Hooks;
}

export interface Transport {
  readonly name: TransportName;
  /** Ends what goes over the network; the last picture stays in the element. */
  close(): void;
  /** Lets go of the element, which is no longer on screen. */
  release(): void;
  instantOf(shown: Shown): Taken;
  /** The page is looked at again, or playback goes on after a pause: go to the newest picture. */
  catchUp(): void;
}

/** A class of transports. */
export type Opens = (way: Way) => Transport;
