// Which footage a window of the player holds: what the server can show around an instant, and where there is footage at all.

import { ApiError, camera as path, get, now } from './api.js';
import { MediaMap } from './footage.js';
import { iso, parse } from './time.js';

/** Length of a window, and how much of it lies before the instant that was asked for, in milliseconds. */
const WINDOW = 10 * 60_000;
const BEFORE = 30_000;
/** How far before the end of footage to begin where there is nothing behind it. */
export const BEHIND = 6_000;
const DAY = 24 * 3600_000;
/** Sound is on disk up to so much later than the pictures it belongs to, and footage so young may lack some of it still. */
const SETTLED = 400;
const YOUNG = 5_000;

const noFootage = (error) => error instanceof ApiError && error.code === 'no_footage';

/** The window to play an instant from, and the media time to begin at; `null` when the camera has no footage. */
export async function find(camera, instant, direction, signal) {
  const from = instant - (direction >= 0 ? BEFORE : WINDOW - BEFORE);
  const first = await footageFrom(camera, from, signal);
  if (first !== null && first < from + WINDOW) {
    const window = await plan(camera, from, from + WINDOW, instant, signal);
    const media = window?.map.mediaOf(instant, direction) ?? null;
    if (media !== null) return { window, media };
  }
  const beyond = (side) => findBeyond(camera, instant, side, signal);
  return (await beyond(direction)) ?? beyond(-direction);
}

/** The same where the nearest footage on one side is further away than a window is long. */
async function findBeyond(camera, instant, direction, signal) {
  const ahead = direction >= 0;
  const near = await (ahead ? footageFrom : footageTo)(camera, instant, signal);
  if (near === null) return null;
  const start = ahead ? near : near - BEHIND;
  const from = ahead ? near : near - BEFORE;
  const window = await plan(camera, from, from + WINDOW, start, signal);
  return window ? { window, media: window.map.mediaOf(start) ?? 0 } : null;
}

/** What the server can show between two instants, around one of them; `null` when that is nothing. */
async function plan(camera, from, to, around, signal) {
  let answer;
  try {
    answer = await get(path(camera, '/video.json', { from: iso(from), to: iso(to) }), { signal });
  } catch (error) {
    if (noFootage(error)) return null;
    throw error;
  }
  const parts = answer.parts.map((part) => ({
    media: part.media_start_seconds,
    start: parse(part.start),
    end: parse(part.end),
    codec: part.codec_string,
  }));
  if (!parts.length) return null;
  const found = new MediaMap(parts).alike(around);
  const map = now() - found.end < YOUNG ? found.until(found.end - SETTLED) : found;
  if (map.empty) return null;
  // With both ends on footage that is complete, the bytes stay the same while more is recorded.
  const bounds = { from: iso(map.start), to: iso(map.end) };
  return { camera, map, url: path(camera, '/video.mp4', bounds), codec: map.parts[0].codec, mended: false };
}

/** The first window with footage from an instant on; `null` when there is none yet. */
export async function windowFrom(camera, instant, signal) {
  const near = await footageFrom(camera, instant, signal);
  return near === null ? null : plan(camera, near, near + WINDOW, near, signal);
}

/** The window that begins with the segment after the one that holds an instant; `null` when there is none. */
export async function windowOfNextSegment(camera, instant, signal) {
  const query = { from: iso(instant), to: iso(instant + WINDOW), limit: 2 };
  const segments = await get(path(camera, '/segments', query), { signal });
  const start = segments.map((segment) => parse(segment.start_time)).find((each) => each > instant + 1);
  return start === undefined ? null : plan(camera, start, start + WINDOW, start, signal);
}

/** End of a camera's newest footage; `null` when there is none. */
export async function newestFootage(camera, signal) {
  const segments = await get(path(camera, '/segments', { limit: 1 }), { signal });
  return segments.length ? parse(segments[segments.length - 1].end_time) : null;
}

/** The first instant with footage at or after another; `null` when there is none. */
async function footageFrom(camera, instant, signal) {
  const [segment] = await get(path(camera, '/segments', { from: iso(instant), limit: 1 }), { signal });
  return segment ? Math.max(instant, parse(segment.start_time)) : null;
}

/** The last instant with footage at or before another; `null` when there is none. */
async function footageTo(camera, instant, signal) {
  // The day before answers nearly always, and fast.
  for (const from of [iso(instant - DAY), undefined]) {
    const { ranges } = await get(path(camera, '/timeline', { from, to: iso(instant) }), { signal });
    if (ranges.length) return Math.min(instant, parse(ranges[ranges.length - 1].end));
  }
  return null;
}

export function canPlay(codec) {
  return !codec || document.createElement('video').canPlayType(`video/mp4; codecs="${codec}"`) !== '';
}

export function codecName(codec) {
  if (/^(hvc1|hev1)/.test(codec)) return 'H.265';
  return /^av01/.test(codec) ? 'AV1' : codec;
}
