// The controls over the pictures: buttons, clock, what is known of the stream, and what is wrong.
//
// Owns: elements and their keys. Everything that they do is done by the player.

import type { Player } from './player.js';
import { clock, day, described, noticeOf } from './words.js';

const SVG = 'http://www.w3.org/2000/svg';
const PLAY = 'M7 4.5v15l12.5-7.5z';
const PAUSE = 'M6.5 4.5h4v15h-4zM13.5 4.5h4v15h-4z';
const SOUND = 'M4 9.5v5h3.5l5 4.5V5l-5 4.5zM15 8.2v1.6a3 3 0 0 1 0 4.4v1.6a4.6 4.6 0 0 0 0-7.6z';
const MUTED = 'M4 9.5v5h3.5l5 4.5V5l-5 4.5zM15 9.4l1-1 5.6 5.6-1 1zM20.6 8.4l1 1L16 15l-1-1z';
const FULL = 'M4 4h6v2H6v4H4zM14 4h6v6h-2V6h-4zM4 14h2v4h4v2H4zM18 14h2v6h-6v-2h4z';
const SKIP_S = 10;

export class Controls {
  readonly element = document.createElement('div');
  readonly notice = document.createElement('div');
  #player: Player;
  #host: HTMLElement;
  #play: HTMLButtonElement;
  #sound: HTMLButtonElement;
  #live: HTMLButtonElement;
  #time = document.createElement('time');
  #info = document.createElement('span');

  constructor(player: Player, host: HTMLElement) {
    this.#player = player;
    this.#host = host;
    this.element.className = 'bar';
    this.element.setAttribute('role', 'group');
    this.element.setAttribute('aria-label', 'Player');
    this.notice.className = 'notice';
    this.notice.setAttribute('role', 'status');
    this.#info.className = 'info';
    this.#play = icon('Play', PLAY, () => this.toggle());
    this.#sound = icon('Sound', MUTED, () => (player.muted = !player.muted));
    this.#live = worded('Live', 'Go to live', () => void player.seek('live'));
    this.#live.className = 'live';
    const back = worded(`−${SKIP_S}`, `${SKIP_S} seconds back`, () => this.skip(-SKIP_S));
    const on = worded(`+${SKIP_S}`, `${SKIP_S} seconds on`, () => this.skip(SKIP_S));
    back.className = on.className = 'skip';
    const full = icon('Full screen', FULL, () => this.fullScreen());
    this.element.append(this.#play, back, on, this.#live, this.#time, this.#info, this.#sound, full);
    for (const name of ['statechange', 'timeupdate', 'infochange', 'picture', 'failure']) player.addEventListener(name, () => this.show());
    host.addEventListener('keydown', (event) => this.#key(event));
    this.show();
  }

  toggle(): void {
    const player = this.#player;
    const runs = player.state !== 'idle' && player.state !== 'ended' && !player.paused;
    if (runs) player.pause();
    else player.play();
  }

  skip(seconds: number): void {
    const { instant } = this.#player;
    // A wish that cannot be met is told by the player's event.
    if (!Number.isNaN(instant)) this.#player.seek(instant + seconds * 1000).catch(() => undefined);
  }

  fullScreen(): void {
    // A browser that refuses says so by staying as it is.
    if (document.fullscreenElement) document.exitFullscreen().catch(() => undefined);
    else this.#host.requestFullscreen().catch(() => undefined);
  }

  show(): void {
    const player = this.#player;
    const runs = player.state !== 'idle' && player.state !== 'ended' && !player.paused;
    label(this.#play, runs ? 'Pause' : 'Play', runs ? PAUSE : PLAY);
    label(this.#sound, player.muted ? 'Sound on' : 'Sound off', player.muted ? MUTED : SOUND);
    this.#live.setAttribute('aria-pressed', String(player.live && !player.paused));
    const { time } = player;
    text(this.#time, time ? clock(time) : '--:--:--');
    if (time) this.#time.title = day(time);
    text(this.#info, described(player));
    const words = noticeOf(player.state, player.reason, player.live);
    this.notice.dataset['state'] = player.state;
    if (this.notice.textContent === words) return;
    const span = document.createElement('span');
    span.textContent = words;
    this.notice.replaceChildren(...(words ? [span] : []));
  }

  #key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const onButton = event.composedPath()[0] instanceof HTMLButtonElement;
    const acts: Record<string, () => void> = {
      k: () => this.toggle(),
      m: () => (this.#player.muted = !this.#player.muted),
      f: () => this.fullScreen(),
      l: () => void this.#player.seek('live'),
      ArrowLeft: () => this.skip(-SKIP_S),
      ArrowRight: () => this.skip(SKIP_S),
      ...(!onButton && { ' ': () => this.toggle() }),
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }
}

function button(name: string, act: () => void): HTMLButtonElement {
  const made = document.createElement('button');
  made.type = 'button';
  made.title = name;
  made.setAttribute('aria-label', name);
  made.addEventListener('click', act);
  return made;
}

function worded(word: string, name: string, act: () => void): HTMLButtonElement {
  const made = button(name, act);
  made.append(word);
  return made;
}

function icon(name: string, path: string, act: () => void): HTMLButtonElement {
  const made = button(name, act);
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  const shape = document.createElementNS(SVG, 'path');
  shape.setAttribute('d', path);
  svg.append(shape);
  made.append(svg);
  return made;
}

/** Sets name and icon of a button where they differ. */
function label(of: HTMLButtonElement, name: string, path: string): void {
  if (of.title === name) return;
  of.title = name;
  of.setAttribute('aria-label', name);
  of.querySelector('path')?.setAttribute('d', path);
}

/** Sets a text only where it differs, so that screen readers are not told again. */
function text(element: HTMLElement, value: string): void {
  if (element.textContent !== value) element.textContent = value;
}
