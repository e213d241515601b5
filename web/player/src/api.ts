// Requests to the server: where to watch, sessions of footage, why a camera is away.
//
// Owns: credentials, which go into headers only, and the reading of errors. Every answer is shown to the server's clock.

import type { ServerClock } from './clock.js';
import { Failure, kindOf, sentence } from './failure.js';
import type { LiveUrls, PlaybackSession, StreamName } from './types.js';
import { causeOf } from './words.js';

const TIMEOUT_MS = 15_000;

/** Who asks; without either, the cookies of the page do. */
export interface Credentials {
  bearerToken?: string | undefined;
  apiKey?: string | undefined;
}

export class Api {
  #base: string;
  #credentials: () => Credentials;
  readonly clock: ServerClock;

  /** `base` is the server's address, '' for the one that the page came from. */
  constructor(base: string, credentials: () => Credentials, clock: ServerClock) {
    this.#base = base;
    this.#credentials = credentials;
    this.clock = clock;
  }

  /** An address of the server, whole. */
  url(path: string): string {
    return new URL(path, new URL(this.#base || '/', location.href)).href;
  }

  /** The same for a WebSocket. */
  socketUrl(path: string): string {
    return this.url(path).replace(/^http/, 'ws');
  }

  /** A request as its sender wants it, with credentials. Rejects with a `Failure` when there is no answer. */
  async fetch(path: string, init: RequestInit = {}, timeout = TIMEOUT_MS): Promise<Response> {
    const headers = new Headers(init.headers);
    const { bearerToken, apiKey } = this.#credentials();
    if (bearerToken) headers.set('Authorization', `Bearer ${bearerToken}`);
    else if (apiKey) headers.set('X-API-Key', apiKey);
    const cancel = new AbortController();
    const aborted = () => cancel.abort(init.signal?.reason);
    const late = setTimeout(() => cancel.abort(), timeout);
    init.signal?.addEventListener('abort', aborted, { once: true });
    if (init.signal?.aborted) aborted();
    const asked = this.clock.local();
    try {
      const answer = await fetch(this.url(path), { cache: 'no-store', ...init, headers, signal: cancel.signal });
      this.clock.answered(answer.headers.get('Date'), asked, this.clock.local());
      return answer;
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new Failure('unavailable', 'The server does not answer.');
    } finally {
      clearTimeout(late);
      init.signal?.removeEventListener('abort', aborted);
    }
  }

  /** A request whose answer is JSON. */
  async json<T>(path: string, init?: RequestInit): Promise<T> {
    const answer = await this.fetch(path, init);
    if (!answer.ok) throw await refusal(answer);
    return (await answer.json()) as T;
  }

  /** Where a camera can be watched, and the token that opens it. */
  liveUrls(camera: string, stream: StreamName, signal: AbortSignal): Promise<LiveUrls> {
    const query = stream === 'auto' ? '' : `?stream=${stream}`;
    return this.json(`/api/v1/cameras/${encodeURIComponent(camera)}/liveview${query}`, { signal });
  }

  /** Begins a session of footage. */
  playback(camera: string, wish: Record<string, unknown>, signal: AbortSignal): Promise<PlaybackSession> {
    return this.json(`/api/v1/cameras/${encodeURIComponent(camera)}/playback/sessions`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(wish),
      signal,
    });
  }

  /** Ends something by its address; whether that worked is of no concern. */
  async forget(path: string): Promise<void> {
    await this.fetch(path, { method: 'DELETE', keepalive: true }).catch(() => undefined);
  }

  /** Why a camera is away; '' where nothing is wrong or nothing may be told. */
  async trouble(camera: string, signal: AbortSignal): Promise<string> {
    interface Health {
      state?: string;
      reason_class?: string | null;
    }
    try {
      const health = await this.json<Health>(`/api/v1/cameras/${encodeURIComponent(camera)}/health`, { signal });
      const away = health.state === 'offline' || health.state === 'error';
      return away ? causeOf(health.reason_class ?? '') : '';
    } catch {
      return '';
    }
  }
}

/** What an answer that is no success says. */
export async function refusal(answer: Response): Promise<Failure> {
  interface Body {
    error?: string;
    code?: string;
  }
  const body = (await answer.json().catch(() => null)) as Body | null;
  const code = body?.code ?? '';
  const text = body?.error ?? `the server answered ${answer.status}`;
  return new Failure(kindOf(answer.status, code), sentence(text), code);
}
