// Runs inside a page: players side by side that note which picture they show when. `numberOf` comes from strip.mjs.

window.screens = {};

/**
 * A player of an element's own source or of a playlist; `frames` are `[media time, number, late]` in order of presentation,
 * `late` being the milliseconds from when a picture was due to when its number was read.
 */
class Screen {
  constructor() {
    this.video = document.createElement('video');
    this.video.muted = true;
    this.video.width = 320;
    this.frames = [];
    this.errors = [];
    this.canvas = new OffscreenCanvas(40, 1).getContext('2d', { willReadFrequently: true });
    document.body.append(this.video);
    const note = (_now, { mediaTime, expectedDisplayTime }) => {
      const number = this.number();
      this.frames.push([mediaTime, number, Math.max(0, performance.now() - expectedDisplayTime)]);
      this.video.requestVideoFrameCallback(note);
    };
    this.video.requestVideoFrameCallback(note);
  }

  /** The number of the picture on screen; -1 when it has none. */
  number() {
    const { video, canvas } = this;
    const side = video.videoWidth / 40;
    canvas.imageSmoothingQuality = 'high';
    canvas.drawImage(video, 0, side * 1.3, video.videoWidth, side * 0.4, 0, 0, 40, 1);
    const { data } = canvas.getImageData(0, 0, 40, 1);
    return numberOf(Array.from({ length: 40 }, (_, block) => data[4 * block]));
  }

  file(url) {
    this.video.src = url;
    return this.event('loadeddata');
  }

  playlist(url, config = {}) {
    // Everything is loaded at once, so that what is missing at a border is not mistaken for what has not come yet.
    this.hls = new Hls({ maxBufferLength: 600, maxMaxBufferLength: 600, backBufferLength: Infinity, ...config });
    this.hls.on(Hls.Events.ERROR, (_event, data) => this.errors.push(data.details));
    this.hls.loadSource(url);
    this.hls.attachMedia(this.video);
    return this.event('loadeddata');
  }

  /** Resolves with an event of the element; rejects with its error, or when nothing happens for half a minute. */
  event(name) {
    const { video } = this;
    return new Promise((resolve, reject) => {
      const fail = (why) => reject(new Error(`${name}: ${why} ${JSON.stringify(this.errors)} at ${video.currentTime}`));
      const timer = setTimeout(() => fail('not in time'), 30_000);
      video.addEventListener('error', () => fail(video.error.message), { once: true });
      video.addEventListener(name, () => { clearTimeout(timer); resolve(); }, { once: true });
    });
  }

  /** Resolves when the picture of the current time is on screen. */
  async settle() {
    if (this.video.seeking) await this.event('seeked');
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  }

  /** Shows a media time; resolves with the picture that is on screen then. */
  async seek(media) {
    const { video } = this;
    video.currentTime = media;
    await this.settle();
    return { number: this.number(), time: video.currentTime, duration: video.duration };
  }

  /** Plays to the end; resolves with what went by. */
  async play(rate = 1) {
    const { video } = this;
    const done = this.event('ended');
    // What was shown before the seek to the start does not count.
    this.frames.length = 0;
    video.playbackRate = rate;
    const started = performance.now();
    await video.play();
    await done;
    const seconds = (performance.now() - started) / 1000;
    // The end may be told before the last picture is on screen.
    await this.settle();
    return { seconds, ...this.told() };
  }

  /** What is known so far, with the fragments of a playlist where they lie in media time. */
  told() {
    const { video, frames, errors } = this;
    const buffered = Array.from({ length: video.buffered.length }, (_, at) => [video.buffered.start(at), video.buffered.end(at)]);
    const fragments = this.hls?.levels[0]?.details.fragments.map(({ start, duration, programDateTime, cc }) => ({ start, duration, programDateTime, cc }));
    const { currentTime, duration, videoWidth } = video;
    return { frames, errors, buffered, fragments, currentTime, duration, videoWidth, number: this.number() };
  }
}

window.Screen = Screen;
