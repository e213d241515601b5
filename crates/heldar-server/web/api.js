// Requests to the API of the server that the page came from. Who asks is told by a cookie that no script sees.

import { span } from './time.js';

const TIMEOUT_MS = 20_000;
// An export is answered when its file is complete.
const SLOW_TIMEOUT_MS = 15 * 60_000;

/** A request that did not succeed. `status` is 0 when the server did not answer at all. */
export class ApiError extends Error {
  constructor(status, body, retryAfter = NaN) {
    super(body?.error ?? (status ? `the server answered ${status}` : 'The server does not answer.'));
    this.status = status;
    this.code = body?.code ?? '';
    this.reason = body?.reason ?? '';
    this.field = body?.field ?? '';
    this.requestId = body?.request_id ?? '';
    /** Seconds to wait before the next try; NaN where the server named none. */
    this.retryAfter = retryAfter;
  }

  /** Whether it was refused for who asks: nobody who is signed in, or somebody who may not. */
  get isRefusal() {
    return this.status === 401 || this.status === 403;
  }

  /** The message with the id that finds it in the server's log. */
  get text() {
    // Names of fields begin as they are written.
    const sentence = /^[a-z]+[ ,]/.test(this.message) ? this.message.charAt(0).toUpperCase() + this.message.slice(1) : this.message;
    if (this.status === 429 && this.retryAfter > 0) return `${sentence.replace(/\.$/, '')}. Try again in ${span(this.retryAfter)}.`;
    return this.status >= 500 && this.requestId ? `${sentence} (${this.requestId})` : sentence;
  }
}

let clockOffset = 0;

/** Now by the server's clock, as far as it differs from this one by more than the `Date` header can tell. */
export const now = () => Date.now() + clockOffset;

function compareClocks(response) {
  const server = Date.parse(response.headers.get('Date') ?? '');
  if (Number.isNaN(server)) return;
  const offset = server + 500 - Date.now();
  clockOffset = Math.abs(offset) > 2000 ? offset : 0;
}

let refused = () => {};

/** Names what is called whenever the server refuses a request for who asks. */
export function whenRefused(call) {
  refused = call;
}

/** `expectsRefusal`: whoever asks deals with a refusal, so that nobody else is called. */
async function request(method, path, { body, signal, timeout = TIMEOUT_MS, expectsRefusal = false } = {}) {
  const limits = [AbortSignal.timeout(timeout)];
  if (signal) limits.push(signal);
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.any(limits),
      cache: 'no-store',
    });
  } catch (error) {
    // Whoever cancelled it knows; everything else is a server that cannot be reached.
    if (signal?.aborted) throw error;
    throw new ApiError(0, null);
  }
  compareClocks(response);
  const answer = await response.json().catch(() => null);
  if (!response.ok) {
    const error = new ApiError(response.status, answer, Number(response.headers.get('Retry-After') ?? NaN));
    if (error.isRefusal && !expectsRefusal) refused();
    throw error;
  }
  return answer;
}

export const get = (path, options) => request('GET', path, options);
export const post = (path, body, options) => request('POST', path, { ...options, body });
export const postSlow = (path, body) => request('POST', path, { body, timeout: SLOW_TIMEOUT_MS });
export const remove = (path) => request('DELETE', path);

/** The path of a camera, with a query made of what is not undefined. */
export function camera(id, rest = '', query = {}) {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined);
  const text = new URLSearchParams(pairs).toString();
  return `/api/v1/cameras/${encodeURIComponent(id)}${rest}${text ? `?${text}` : ''}`;
}

let mayPoll = false;
const polls = new Set();

/** Whether polls go on; they stand still from the beginning. */
export function setPolling(goOn) {
  mayPoll = goOn;
  if (goOn) polls.forEach((turn) => turn());
}

/**
 * Asks again and again: `ask` is called at once, and again `pause()` milliseconds after each answer, but not while polls
 * stand still or nobody looks at the page. The result has `now()`, which asks without waiting.
 */
export function poll(ask, pause) {
  let timer = 0;
  let running = false;
  let again = false;
  async function turn() {
    clearTimeout(timer);
    if (running) {
      again = true;
      return;
    }
    if (document.hidden || !mayPoll) return;
    running = true;
    again = false;
    try {
      await ask();
    } finally {
      running = false;
      timer = setTimeout(turn, again ? 0 : pause());
    }
  }
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) turn();
  });
  polls.add(turn);
  turn();
  return { now: turn };
}
