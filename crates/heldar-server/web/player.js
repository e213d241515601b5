// The player's engine: goes to any instant of a camera and keeps playing from there.
//
// Footage is played in windows, each a progressive MP4 of the server's (`video.mp4?from&to`) with the map between its media
// time and wall time (`video.json`). Two video elements take turns: while one plays, the other loads what follows. Near the
// newest footage windows are as short as what was recorded since; that is how playback follows it. Knows no page around the
// two elements; says what happens by events: `change` for the state, `time` for the instant, `skip` for a hole passed.

import { now } from './api.js';
import { BEHIND, canPlay, codecName, find, newestFootage, windowFrom, windowOfNextSegment } from './windows.js';

/** "Latest" that has got so far behind the newest footage catches up. */
const TOO_FAR_BEHIND = 20_000;
/** A window that ends so close to now is followed by one that is being recorded. */
const NEAR_NOW = 60_000;
/** When the next window is prepared, in seconds before the end of this one: late near now, so that there is something. */
const LEAD = 20;
const LEAD_NEAR_NOW = 1.5;
/** Shortest window that is worth a request while more is being recorded, and after waiting for it, to get a lead again. */
const SHORTEST = 1_000;
const SHORTEST_AFTER_WAIT = 4_000;
/** Footage that ended so long ago is not being recorded any more. */
const ENDED = 8_000;
const RETRY = 700;
/** Stepping: intervals that are remembered, tries to find another picture, and how long one may take to be on screen. */
const REMEMBERED = 12;
const TRIES = 25;
const SLOWEST = 1_000;
/** Length of a picture of a camera that does not tell, in seconds. */
const SHORTEST_PICTURE = 1 / 50;

export class Player extends EventTarget {
  camera = '';
  /** `idle`, `loading`, `ready`, `waiting` (for more to be recorded), `empty` (no footage at all), `failed`, `unplayable`. */
  phase = 'idle';
  /** Why, when it failed or cannot be played. */
  message = '';
  speed = 1;
  /** Whether it plays as soon as it can. */
  playing = true;
  /** Whether it stays with the newest footage. */
  following = false;
  muted = true;

  #videos;
  #front = 0;
  #window = null;
  #next = null;
  #job = new AbortController();
  #preparing = false;
  #part = null;
  /** Media time of the picture on screen, and how far apart the last few were. */
  #picture = 0;
  #intervals = [];
  #rate;
  #caughtUpAt = 0;

  /** `rate` tells how many pictures a second a camera has announced to send, if it has. */
  constructor(first, second, rate) {
    super();
    this.#rate = rate;
    this.#videos = [first, second];
    for (const video of this.#videos) {
      video.muted = true;
      video.addEventListener('ended', () => this.#isFront(video) && this.#advance());
      video.addEventListener('error', () => this.#isFront(video) && video.getAttribute('src') && this.#broken());
      video.addEventListener('seeked', () => this.#isFront(video) && this.#tell());
      this.#watchFrames(video);
    }
    setInterval(() => this.#turn(), 100);
  }

  /** The instant on screen; NaN when there is none. */
  get wall() {
    return this.#window ? this.#window.map.wallOf(this.#video.currentTime) : NaN;
  }

  get #video() {
    return this.#videos[this.#front];
  }

  #isFront(video) {
    return video === this.#video;
  }

  /** Goes to an instant. Where nothing was recorded it goes on to the next footage; with `direction` -1, back to the last. */
  async seek(instant, { camera = this.camera, direction = 1 } = {}) {
    this.following = false;
    const loaded = camera === this.camera && (this.phase === 'ready' || this.phase === 'waiting');
    if (loaded && this.#window.map.spans(instant)) {
      const media = this.#window.map.mediaOf(instant, direction);
      if (media !== null) {
        this.#show(media);
        return;
      }
    }
    await this.#load(camera, (signal) => find(camera, instant, direction, signal));
  }

  /** Goes to the newest footage and stays with it. */
  async latest(camera = this.camera) {
    this.playing = true;
    this.speed = 1;
    await this.#load(camera, async (signal) => {
      const newest = await newestFootage(camera, signal);
      return newest === null ? null : find(camera, newest - BEHIND, 1, signal);
    });
    this.following = this.phase === 'ready' || this.phase === 'empty';
    this.#changed();
  }

  /** Tries again what failed. */
  retry() {
    const { wall, following } = this;
    if (following || Number.isNaN(wall)) return this.latest();
    this.#window = null;
    return this.seek(wall);
  }

  /** Takes the picture away: something else is on screen. */
  leave() {
    this.#job.abort();
    this.#job = new AbortController();
    this.following = false;
    this.#setNext(null);
    this.phase = 'idle';
    this.#clear();
    this.#changed();
  }

  jump(seconds) {
    if (this.#window) this.seek(this.wall + seconds * 1000, { direction: Math.sign(seconds) });
  }

  /** Shows the next picture or, with -1, the one before. */
  async step(direction) {
    if (!this.#window || (this.phase !== 'ready' && this.phase !== 'waiting')) return;
    this.pause();
    const video = this.#video;
    const from = this.#picture;
    const length = this.#interval();
    // The middle of a picture is never mistaken for its neighbour.
    let target = from + length * (direction > 0 ? 1.5 : -0.5);
    for (let tries = 0; tries < TRIES; tries += 1) {
      if (target < 0 || target >= video.duration) {
        this.seek(this.wall + direction * length * 1000, { direction });
        return;
      }
      const presented = once(video, 'presented', this.#job.signal);
      video.currentTime = target;
      await once(video, 'seeked', this.#job.signal).catch(() => {});
      await Promise.race([presented, pause(SLOWEST)]).catch(() => {});
      // Pictures may last longer than was thought.
      if (this.#picture !== from || !video.paused || !this.#isFront(video)) {
        this.#changed();
        return;
      }
      target += direction * length;
    }
  }

  /** How long a picture lasts, in seconds; a short guess only costs another try, a long one would pass over a picture. */
  #interval() {
    const announced = this.#rate(this.camera);
    return Math.min(...this.#intervals, announced ? 1 / announced : SHORTEST_PICTURE);
  }

  play() {
    this.playing = true;
    if (this.phase === 'ready') this.#start(this.#video);
    if (this.phase === 'waiting' && this.#next) this.#advance();
    this.#changed();
  }

  pause() {
    this.playing = false;
    this.following = false;
    this.#video.pause();
    this.#changed();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  setSpeed(speed) {
    this.speed = speed;
    if (speed !== 1) this.following = false;
    this.#video.playbackRate = speed;
    this.#changed();
  }

  setMuted(muted) {
    this.muted = muted;
    for (const video of this.#videos) video.muted = muted;
    this.#changed();
  }

  // Showing it

  async #load(camera, find) {
    this.#job.abort();
    const job = (this.#job = new AbortController());
    const changed = camera !== this.camera;
    this.camera = camera;
    this.#setNext(null);
    this.#become('loading');
    if (changed) {
      this.#clear();
      this.#intervals = [];
    }
    try {
      const found = await find(job.signal);
      if (job.signal.aborted) return;
      if (found) await this.#open(found.window, found.media, job.signal);
      else {
        this.#clear();
        this.#become('empty');
      }
    } catch (error) {
      if (!job.signal.aborted) this.#fail(error.text ?? String(error.message ?? error));
    }
  }

  async #open(window, media, signal) {
    if (!canPlay(window.codec)) {
      this.#clear();
      this.#fail(`This browser does not play ${codecName(window.codec)}. The footage is there: export it, or use another browser.`, 'unplayable');
      return;
    }
    const video = this.#video;
    this.#window = window;
    this.#part = null;
    this.#give(video, window.url);
    await once(video, 'loadedmetadata', signal);
    if (media > 0.01) {
      video.currentTime = Math.min(media, Math.max(0, video.duration - 0.05));
      await once(video, 'seeked', signal);
    }
    if (signal.aborted) return;
    this.#become('ready');
    if (this.playing) this.#start(video);
    this.#tell();
  }

  #show(media) {
    const video = this.#video;
    this.#part = null;
    video.currentTime = Math.min(media, Math.max(0, video.duration - 0.05));
    if (this.playing) this.#start(video);
    this.#become('ready');
  }

  #give(video, url) {
    video.defaultPlaybackRate = this.speed;
    video.playbackRate = this.speed;
    video.src = url;
  }

  #start(video) {
    video.playbackRate = this.speed;
    video.play().catch((error) => {
      // A load that replaced this one is no refusal.
      if (error.name !== 'NotAllowedError') return;
      this.playing = false;
      this.#changed();
    });
  }

  #clear() {
    this.#window = null;
    this.#part = null;
    this.#videos.forEach(drop);
    this.#tell();
  }

  // Going on

  /** Ten times a second: tells the time and prepares what follows. */
  #turn() {
    if (!this.#window) return;
    if (this.phase === 'waiting') {
      if (this.playing) this.#prepare();
      return;
    }
    if (this.phase !== 'ready' || this.#video.paused) return;
    this.#tell();
    const left = (this.#video.duration - this.#video.currentTime) / this.speed;
    const recent = now() - this.#window.map.end < NEAR_NOW;
    if (left < (recent ? LEAD_NEAR_NOW : LEAD)) this.#prepare();
    this.#catchUp();
  }

  /** Loads the next window into the element behind; once there is one. */
  async #prepare() {
    if (this.#preparing || this.#next) return;
    this.#preparing = true;
    const { signal } = this.#job;
    const { map, camera } = this.#window;
    try {
      const window = await windowFrom(camera, map.end, signal);
      if (signal.aborted) return;
      if (window && canPlay(window.codec) && this.#worthIt(window.map)) {
        this.#setNext(window);
        if (this.phase === 'waiting' && this.playing) this.#advance();
      } else {
        await pause(RETRY);
      }
    } catch {
      // The server may be restarting; the footage is not lost by asking again.
      await pause(RETRY * 3);
    } finally {
      this.#preparing = false;
    }
  }

  #worthIt(map) {
    const shortest = this.phase === 'waiting' ? SHORTEST_AFTER_WAIT : SHORTEST;
    return map.end - map.start >= shortest || now() - map.end > ENDED;
  }

  #setNext(window) {
    this.#next = window;
    const behind = this.#videos[1 - this.#front];
    if (window) this.#give(behind, window.url);
    else drop(behind);
  }

  /** The window has been played to its end. */
  #advance() {
    const next = this.#next;
    if (!next) {
      if (this.speed > 1 && now() - this.#window.map.end < NEAR_NOW) this.setSpeed(1);
      this.#become('waiting');
      return;
    }
    const old = this.#video;
    const video = this.#videos[1 - this.#front];
    const hole = { start: this.#window.map.end, end: next.map.start };
    this.#front = 1 - this.#front;
    this.#window = next;
    this.#next = null;
    this.#part = null;
    this.#become('ready');
    if (this.playing) this.#start(video);
    if (hole.end - hole.start > 1000) this.#skipped(hole);
    // The last picture stays until the first one is there.
    const swap = () => this.#isFront(video) && drop(old);
    if (video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) requestAnimationFrame(swap);
    else video.addEventListener('loadeddata', swap, { once: true });
  }

  /** Followed footage can get away, as while the page was not looked at. */
  async #catchUp() {
    if (!this.following || now() - this.wall < TOO_FAR_BEHIND || now() - this.#caughtUpAt < 5000) return;
    this.#caughtUpAt = now();
    const newest = await newestFootage(this.camera, this.#job.signal).catch(() => null);
    if (this.following && newest !== null && newest - this.wall > TOO_FAR_BEHIND) this.latest();
  }

  /** The element gave up: the window holds something it cannot take. Goes on behind it, once for each window. */
  async #broken() {
    const window = this.#window;
    if (!window || this.phase === 'failed') return;
    const { wall } = this;
    const reason = why(this.#video);
    if (window.mended) {
      this.#fail(reason);
      return;
    }
    await this.#load(this.camera, async (signal) => {
      // Pictures change their form only where a segment begins.
      const found = await windowOfNextSegment(window.camera, wall, signal);
      if (!found) throw new Error(reason);
      return { window: { ...found, mended: true }, media: 0 };
    });
  }

  // Telling

  #become(phase) {
    this.phase = phase;
    this.message = '';
    this.#changed();
  }

  #fail(message, phase = 'failed') {
    this.phase = phase;
    this.message = message;
    this.#changed();
  }

  #changed() {
    this.#videos.forEach((video, index) => video.classList.toggle('front', index === this.#front && this.#window !== null));
    this.dispatchEvent(new Event('change'));
  }

  #tell() {
    const { wall } = this;
    if (this.#window) {
      const part = this.#window.map.partAt(this.#video.currentTime);
      if (this.#part && part !== this.#part && part.start > this.#part.end + 1000 && !this.#video.seeking) {
        this.#skipped({ start: this.#part.end, end: part.start });
      }
      this.#part = part;
    }
    this.dispatchEvent(new CustomEvent('time', { detail: wall }));
  }

  #skipped(hole) {
    this.dispatchEvent(new CustomEvent('skip', { detail: hole }));
  }

  /** Knows which picture is on screen and how far apart pictures are. */
  #watchFrames(video) {
    if (!video.requestVideoFrameCallback) return;
    const seen = (_now, { mediaTime }) => {
      if (this.#isFront(video)) {
        const since = mediaTime - this.#picture;
        this.#picture = mediaTime;
        if (since > 0.004 && since < 0.5 && !video.seeking && !video.paused) {
          this.#intervals = [...this.#intervals.slice(-REMEMBERED), since];
        }
      }
      video.dispatchEvent(new Event('presented'));
      video.requestVideoFrameCallback(seen);
    };
    video.requestVideoFrameCallback(seen);
  }
}

/** Why an element failed; what browsers say of it is for those who make them. */
function why(video) {
  const loading = video.error?.code === MediaError.MEDIA_ERR_NETWORK;
  return loading ? 'The footage could not be loaded.' : 'The footage cannot be played.';
}

function drop(video) {
  if (!video.getAttribute('src')) return;
  video.removeAttribute('src');
  video.load();
}

/** Resolves with an event of an element; rejects when the element fails or the wait is cancelled. */
function once(video, name, signal) {
  return new Promise((resolve, reject) => {
    const done = (settle) => (value) => {
      video.removeEventListener(name, resolved);
      video.removeEventListener('error', failed);
      signal.removeEventListener('abort', failed);
      settle(value);
    };
    const resolved = done(resolve);
    const failed = done(() => reject(new Error(why(video))));
    video.addEventListener(name, resolved);
    video.addEventListener('error', failed);
    signal.addEventListener('abort', failed);
  });
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
