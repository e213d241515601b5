// Two video elements, one above the other: what is on screen, and what is being prepared. Changing over happens when the one
// behind has its first picture, so nothing ever flashes and the last picture stays when there is no next.
//
// Owns: the elements, which of them is in front, and when the former one may be given up.

import type { Shown } from './transport.js';

/** Longest wait for a picture that is loaded to be presented. */
const PRESENT_MS = 300;

/** Older browsers tell nothing of pictures. */
const tellsFrames = 'requestVideoFrameCallback' in HTMLVideoElement.prototype;

export class Screen {
  /** Called for each picture of the element in front. */
  onshown: (shown: Shown) => void = () => undefined;

  readonly #videos: readonly [HTMLVideoElement, HTMLVideoElement];
  #front: HTMLVideoElement | null = null;
  #release: (() => void) | null = null;
  /** Gives up what was in front before, once that cannot be seen any more. */
  #leaving: (() => void) | null = null;
  #isMuted = true;

  constructor(container: HTMLElement) {
    const make = () => {
      const video = document.createElement('video');
      video.playsInline = true;
      video.muted = true;
      video.disablePictureInPicture = true;
      video.preload = 'auto';
      container.append(video);
      return video;
    };
    this.#videos = [make(), make()];
    for (const video of this.#videos) this.#watch(video);
    this.#stack();
  }

  /** The element in front; `null` while there is no picture. */
  get front(): HTMLVideoElement | null {
    return this.#front;
  }

  get muted(): boolean {
    return this.#isMuted;
  }

  set muted(muted: boolean) {
    this.#isMuted = muted;
    // What is prepared is not to be heard yet.
    for (const video of this.#videos) video.muted = muted || video !== this.#front;
  }

  /** The element to prepare something in. Whatever it was used for before is given up. */
  back(): HTMLVideoElement {
    this.#leave();
    const video = this.#front === this.#videos[0] ? this.#videos[1] : this.#videos[0];
    video.muted = true;
    video.playbackRate = 1;
    return video;
  }

  /** Brings an element to the front; `release` is called when it has been replaced. */
  show(video: HTMLVideoElement, release: () => void): void {
    if (video === this.#front) {
      this.#release = release;
      return;
    }
    this.#leave();
    const former = this.#front;
    this.#leaving = this.#release;
    this.#front = video;
    this.#release = release;
    this.muted = this.#isMuted;
    former?.pause();
    this.#stack();
    requestAnimationFrame(() => requestAnimationFrame(() => this.#leave()));
  }

  /** Takes the picture away. */
  clear(): void {
    this.#leave();
    this.#release?.();
    this.#release = this.#front = null;
    this.#stack();
  }

  #leave(): void {
    const leaving = this.#leaving;
    this.#leaving = null;
    leaving?.();
  }

  #stack(): void {
    for (const video of this.#videos) {
      video.classList.toggle('front', video === this.#front);
      const { style } = video;
      // Written by script and not by markup: a strict policy allows that.
      style.position = 'absolute';
      style.inset = '0';
      style.width = style.height = '100%';
      style.objectFit = 'contain';
      style.zIndex = video === this.#front ? '1' : '0';
      style.background = video === this.#front ? '#000' : 'none';
    }
  }

  #watch(video: HTMLVideoElement): void {
    if (tellsFrames) {
      const seen = (_now: number, metadata: Shown) => {
        if (video === this.#front) this.onshown(metadata);
        video.requestVideoFrameCallback(seen);
      };
      video.requestVideoFrameCallback(seen);
    } else {
      video.addEventListener('timeupdate', () => video === this.#front && this.onshown({ mediaTime: video.currentTime }));
    }
  }
}

/** Resolves when an element shows a picture of where it is to be; rejects when `signal` is aborted. */
export function firstPicture(video: HTMLVideoElement, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const end = (settle: () => void) => {
      for (const name of ['loadeddata', 'seeked']) video.removeEventListener(name, loaded);
      signal.removeEventListener('abort', aborted);
      clearTimeout(timer);
      settle();
    };
    const isThere = (least: number = HTMLMediaElement.HAVE_CURRENT_DATA) => video.readyState >= least && !video.seeking;
    // A page that nobody looks at presents nothing, and what was presented before is not told again.
    const loaded = () => {
      clearTimeout(timer);
      if (isThere()) timer = setTimeout(() => isThere() && end(resolve), document.hidden ? 0 : PRESENT_MS);
    };
    const presented = () => {
      if (signal.aborted) return;
      // The element tells of its data after the picture is on screen; before metadata it is one of what was there before.
      if (isThere(HTMLMediaElement.HAVE_METADATA)) end(resolve);
      else video.requestVideoFrameCallback(presented);
    };
    const aborted = () => end(() => reject(signal.reason as Error));
    for (const name of ['loadeddata', 'seeked']) video.addEventListener(name, loaded);
    signal.addEventListener('abort', aborted);
    if (tellsFrames) video.requestVideoFrameCallback(presented);
    loaded();
  });
}

/** Plays an element, without sound if that is the condition; tells whether it plays. */
export async function play(video: HTMLVideoElement): Promise<boolean> {
  try {
    await video.play();
    return true;
  } catch (error) {
    if (!(error instanceof DOMException) || error.name !== 'NotAllowedError') return true;
    if (video.muted) return false;
    video.muted = true;
    return play(video);
  }
}
