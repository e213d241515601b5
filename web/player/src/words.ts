// States and figures in words for people. Pure.

import type { PlayerState, TransportName } from './types.js';

const WAYS: Record<TransportName, string> = { whep: 'WebRTC', ws: 'WebSocket', hls: 'HLS' };
/** The server's reason classes; one that is not listed says nothing. */
const CAUSES: Record<string, string> = {
  config: 'The camera has no usable stream address.',
  unreachable: 'The camera cannot be reached.',
  refused: 'The camera refuses the connection.',
  auth: 'The camera does not accept user name or password.',
  not_found: 'The camera has no such stream.',
  timeout: 'The camera does not answer.',
  tls: 'Encryption with the camera failed.',
  protocol: 'The camera breaks the protocol.',
  codec: 'The camera sends nothing that can be shown.',
  closed: 'The camera ended the session.',
  stalled: 'The camera is connected, but sends no pictures.',
};

/** Why a camera is away; '' where that is not known. */
export const causeOf = (reasonClass: string): string => CAUSES[reasonClass] ?? '';

const two = (number: number) => String(number).padStart(2, '0');

/** Time of day, "21:05:12". */
export function clock(at: Date): string {
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** Day, "Sun 23 Nov". */
export function day(at: Date): string {
  return at.toLocaleDateString(undefined, { weekday: 'short', day: 'numeric', month: 'short' });
}

/** "0.24 s"; "-" where it is not known. */
export function seconds(value: number): string {
  if (Number.isNaN(value)) return '-';
  return `${Math.max(0, value).toFixed(value < 10 ? 2 : 0)} s`;
}

interface Described {
  live: boolean;
  transport: TransportName | null;
  codec: string;
  width: number;
  height: number;
  latency: number;
  latencyIsEstimate: boolean;
}

/** "WebSocket · H.264 · 640 × 360 · 0.24 s": how pictures come, what they are and how old. */
export function described({ live, transport, codec, width, height, latency, latencyIsEstimate }: Described): string {
  const size = width && height ? `${width} × ${height}` : '';
  const age = `${latencyIsEstimate && !Number.isNaN(latency) ? '≈ ' : ''}${seconds(latency)}`;
  const facts = [live ? transport && WAYS[transport] : 'recorded', codec, size, live && transport && age];
  return facts.filter(Boolean).join(' · ');
}

/** What to say over the pictures; '' where nothing needs to be said. */
export function noticeOf(state: PlayerState, reason: string, live: boolean): string {
  switch (state) {
    case 'connecting':
      return live ? reason || 'Connecting…' : 'Loading…';
    case 'stalled':
      return reason || 'The camera sends no pictures.';
    case 'offline':
      return `${reason || 'Not connected.'} Trying again…`;
    case 'ended':
      return reason || 'This live view was ended.';
    default:
      return live ? '' : reason;
  }
}
