// `<heldar-player camera="front_gate">`: the player with controls, as a custom element.
//
// Owns: attributes and properties, and when the player lives: from its place in a document on. Credentials are properties
// only, never attributes, for attributes are seen by whoever can read the page.

import { Controls } from './controls.js';
import { Player } from './player.js';
import { dress } from './style.js';
import { TRANSPORTS } from './types.js';
import type { PlayerState, StreamName, TransportName } from './types.js';

const EVENTS = ['statechange', 'timeupdate', 'infochange', 'picture', 'skip', 'failure'];

export class HeldarPlayer extends HTMLElement {
  static readonly observedAttributes = ['camera', 'stream', 'transports', 'base'];

  #root = this.attachShadow({ mode: 'open' });
  #player: Player | null = null;
  #bearerToken: string | undefined;
  #apiKey: string | undefined;

  constructor() {
    super();
    dress(this.#root);
  }

  /** The player itself; `null` while the element is in no document. */
  get player(): Player | null {
    return this.#player;
  }

  get camera(): string {
    return this.getAttribute('camera') ?? '';
  }

  set camera(camera: string) {
    this.setAttribute('camera', camera);
  }

  get stream(): StreamName {
    const stream = this.getAttribute('stream');
    return stream === 'main' || stream === 'sub' ? stream : 'auto';
  }

  set stream(stream: StreamName) {
    this.setAttribute('stream', stream);
  }

  /** Ways to try, in order. */
  get transports(): readonly TransportName[] {
    const words = (this.getAttribute('transports') ?? '').split(/[\s,]+/);
    const known = words.filter((word): word is TransportName => (TRANSPORTS as readonly string[]).includes(word));
    return known.length ? known : TRANSPORTS;
  }

  set transports(transports: readonly TransportName[]) {
    this.setAttribute('transports', transports.join(' '));
  }

  /** The server's address; '' for the one that the page came from. */
  get base(): string {
    return this.getAttribute('base') ?? '';
  }

  set base(base: string) {
    this.setAttribute('base', base);
  }

  set bearerToken(token: string | undefined) {
    this.#bearerToken = token;
    this.#authorise();
  }

  set apiKey(key: string | undefined) {
    this.#apiKey = key;
    this.#authorise();
  }

  get state(): PlayerState {
    return this.#player?.state ?? 'idle';
  }

  get live(): boolean {
    return this.#player?.live ?? true;
  }

  get time(): Date | null {
    return this.#player?.time ?? null;
  }

  get latency(): number {
    return this.#player?.latency ?? NaN;
  }

  get muted(): boolean {
    return this.#player?.muted ?? true;
  }

  set muted(muted: boolean) {
    if (this.#player) this.#player.muted = muted;
  }

  play(): void {
    this.#player?.play();
  }

  pause(): void {
    this.#player?.pause();
  }

  seek(to: Date | number | 'live'): Promise<void> {
    return this.#player?.seek(to) ?? Promise.resolve();
  }

  connectedCallback(): void {
    if (!this.hasAttribute('tabindex')) this.tabIndex = 0;
    this.#make();
  }

  disconnectedCallback(): void {
    this.#unmake();
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (before === after || !this.isConnected) return;
    if (name === 'base' || !this.#player) {
      this.#unmake();
      this.#make();
      return;
    }
    const { camera, stream, transports } = this;
    this.#player.watch(name === 'camera' ? { camera } : { stream, transports });
  }

  #authorise(): void {
    this.#player?.authorise({ bearerToken: this.#bearerToken, apiKey: this.#apiKey });
  }

  #make(): void {
    if (!this.camera) return;
    const pictures = document.createElement('div');
    pictures.className = 'pictures';
    const { camera, stream, transports, base } = this;
    const player = new Player(pictures, { camera, stream, transports, base, bearerToken: this.#bearerToken, apiKey: this.#apiKey });
    const controls = new Controls(player, this);
    pictures.addEventListener('click', () => controls.toggle());
    this.#root.replaceChildren(pictures, controls.notice, controls.element);
    for (const name of EVENTS) {
      player.addEventListener(name, (event) => this.dispatchEvent(new CustomEvent(name, { detail: (event as CustomEvent<unknown>).detail })));
    }
    this.#player = player;
    // Credentials that are set right behind the element's creation are to be there for the first request.
    queueMicrotask(() => this.#player === player && player.play());
  }

  #unmake(): void {
    this.#player?.stop();
    this.#player = null;
    this.#root.replaceChildren();
  }
}
