// The page's one player: live by the player that other pages can embed as well (/heldar-player.js), the past by the engine
// of footage (player.js), which also goes picture by picture and at other speeds.
//
// Owns: which of the two is on screen, and that neither is asked for by who may not watch it. Going from one to the other
// keeps the picture until the other one has its own.
// Events as those of player.js: `change`, `time`, `skip`.

import { can } from './account.js';
import { now } from './api.js';
import { find } from './dom.js';
import { Player } from './player.js';

/** Closer to now than this is live: nothing of it is on disk yet. */
const LIVE_WITHIN = 1_500;
/** What live states are in the words of player.js; the other words are the same. */
const PHASES = { connecting: 'loading', playing: 'ready', paused: 'ready' };

/** The embeddable player's module; `null` where it was not built. */
const module = import('/heldar-player.js').then(
  (found) => (found.Player ? found : null),
  () => null,
);

const mayWatch = () => can('video:live') || can('video:playback');

export class Viewer extends EventTarget {
  camera = '';
  #footage;
  #live = null;
  #words = null;
  /** `live` or `footage`: what was asked for last. */
  #source = 'footage';
  #isMuted = true;
  #hasLive;
  /** Counts what was asked for, so that the last wish wins. */
  #wishes = 0;

  /** `rate` tells how many pictures a second a camera has announced to send, if it has. */
  constructor(first, second, rate) {
    super();
    this.#footage = new Player(first, second, rate);
    for (const name of ['change', 'time', 'skip']) {
      this.#footage.addEventListener(name, (event) => this.#source === 'footage' && this.#fromFootage(name, event.detail));
    }
    this.#hasLive = module.then((found) => this.#take(found));
  }

  /** Whether pictures of now are shown, or about to be; resolves to false where this build has no live view. */
  get hasLive() {
    return this.#hasLive;
  }

  get isLive() {
    return this.#source === 'live';
  }

  get phase() {
    if (!mayWatch()) return 'refused';
    if (!this.isLive) return this.#footage.phase;
    return PHASES[this.#live.state] ?? this.#live.state;
  }

  get message() {
    return this.isLive ? this.#live.reason : this.#footage.message;
  }

  /** How live pictures come, what they are and how old; '' in the past. */
  get description() {
    return this.isLive && this.#live.transport ? this.#words(this.#live) : '';
  }

  get wall() {
    return this.isLive ? this.#live.instant : this.#footage.wall;
  }

  get speed() {
    return this.isLive ? 1 : this.#footage.speed;
  }

  get playing() {
    return this.isLive ? !this.#live.paused && this.#live.state !== 'ended' : this.#footage.playing;
  }

  get following() {
    return this.isLive ? !this.#live.paused : this.#footage.following;
  }

  get muted() {
    return this.#isMuted;
  }

  /** Goes to an instant, of another camera if one is given; see player.js. */
  seek(instant, { camera = this.camera, direction = 1 } = {}) {
    if (instant > now() - LIVE_WITHIN || !can('video:playback')) return this.latest(camera);
    this.#wishes += 1;
    this.#source = 'footage';
    this.#change(camera);
    return this.#footage.seek(instant, { camera, direction });
  }

  /** Live, or the newest footage where there is no live view. */
  async latest(camera = this.camera) {
    const wish = (this.#wishes += 1);
    this.#change(camera);
    const hasLive = await this.#hasLive;
    if (wish !== this.#wishes) return undefined;
    if (!hasLive || !can('video:live')) return can('video:playback') ? this.#footage.latest(camera) : this.#tell('change');
    this.#source = 'live';
    if (this.#live.camera !== camera) this.#live.watch({ camera });
    // What goes wrong is told by its state.
    await this.#live.seek('live');
    this.#tell('change');
    return undefined;
  }

  retry() {
    return this.isLive ? this.latest() : this.#footage.retry();
  }

  jump(seconds) {
    if (!Number.isNaN(this.wall) && can('video:playback')) this.seek(this.wall + seconds * 1000, { direction: Math.sign(seconds) });
  }

  /** Shows the next picture or, with -1, the one before; of live pictures the one on screen, as it was recorded. */
  async step(direction) {
    if (!this.isLive) return this.#footage.step(direction);
    const { wall } = this;
    if (Number.isNaN(wall) || !can('video:playback')) return undefined;
    this.#footage.pause();
    this.#source = 'footage';
    return this.#footage.seek(wall, { camera: this.camera, direction: -1 });
  }

  play() {
    if (!this.isLive) this.#footage.play();
    else if (this.#live.paused) this.#live.play();
    else this.latest();
  }

  pause() {
    if (this.isLive) this.#live.pause();
    else this.#footage.pause();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  /** Ends what is shown, so that nothing is asked for any more. */
  stop() {
    this.#wishes += 1;
    this.#source = 'footage';
    this.#live?.stop();
    this.#footage.leave();
    find('screen').dataset.source = 'footage';
  }

  /** What may not be watched any more is ended; what may instead is shown. */
  showRights() {
    const isMissing = !can(this.isLive ? 'video:live' : 'video:playback');
    if (this.camera && isMissing) {
      this.stop();
      this.latest();
    }
    this.#tell('change');
  }

  setSpeed(speed) {
    if (!this.isLive) this.#footage.setSpeed(speed);
  }

  setMuted(muted) {
    this.#isMuted = muted;
    if (this.#live) this.#live.muted = muted;
    this.#footage.setMuted(muted);
    this.#tell('change');
  }

  #take(found) {
    if (!found) return false;
    this.#words = found.described;
    this.#live = new found.Player(find('live'), { camera: '' });
    for (const name of ['statechange', 'infochange', 'failure']) this.#live.addEventListener(name, () => this.isLive && this.#tell('change'));
    this.#live.addEventListener('timeupdate', () => this.isLive && this.#tell('time', this.wall));
    this.#live.addEventListener('picture', () => this.#showLive());
    return true;
  }

  /** Pictures of one camera are never shown as those of another. */
  #change(camera) {
    if (camera === this.camera) return;
    this.camera = camera;
    this.#source = 'footage';
    this.#live?.stop();
    this.#footage.leave();
    find('screen').dataset.source = 'footage';
  }

  #showLive() {
    if (!this.isLive) return;
    find('screen').dataset.source = 'live';
    this.#footage.leave();
    this.#tell('change');
  }

  #fromFootage(name, detail) {
    if (name === 'change' && this.#footage.phase === 'ready') this.#showFootage();
    this.#tell(name, detail);
  }

  /** The picture of the past is there; it covers the live one with the next frame. */
  #showFootage() {
    const screen = find('screen');
    if (screen.dataset.source === 'footage' && this.#live?.state === 'idle') return;
    requestAnimationFrame(() =>
      requestAnimationFrame(() => {
        if (this.isLive) return;
        screen.dataset.source = 'footage';
        this.#live?.stop();
      }),
    );
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
