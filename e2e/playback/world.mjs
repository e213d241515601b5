// Four cameras, recorded once for all tests of playback: sound, B-frames, gaps, changes of size and of codec parameters.
import { join } from 'node:path';
import { Server, freePort, launchBrowser, scratch, startCameras, until } from '../support.mjs';
import { presented } from '../strip.mjs';

/** Id, profile of the test camera, and what its pictures go through besides the gap that all have. */
const CAMERAS = [
  { id: 'street', profile: 'aac_audio' }, // AAC; two changes of size
  { id: 'lobby', profile: 'pcmu_audio' }, // G.711, recorded as Opus
  { id: 'gate', profile: 'b_frames_audio' }, // B-frames and AAC
  { id: 'yard', profile: 'plain' }, // then another profile of H.264, of the same size
];
const BASELINE = 'baseline';
const SEGMENT_SECONDS = 5;
const HIGH = /^avc1\.64/;

export const ids = CAMERAS.map(({ id }) => id);
/** Browser, server, cameras and scratch folder, the recorded footage of each camera by its id, and when the server was killed. */
export const world = { footage: {} };

/** Records the cameras; `meanwhile` is called when there is footage and recording goes on, and waited for at the end. */
export async function record(meanwhile) {
  world.folder = scratch();
  world.browser = await launchBrowser();
  const profiles = [...CAMERAS.map((camera) => camera.profile), BASELINE];
  const [port, http] = [await freePort(), await freePort()];
  world.cameras = await startCameras(['--cameras', `${profiles.length}`, '--port', `${port}`, '--http-port', `${http}`, '--profile', profiles.join()]);
  world.truth = `http://127.0.0.1:${http}`;
  world.server = await new Server(join(world.folder.path, 'data')).start();
  for (const [index, { id }] of CAMERAS.entries()) {
    await world.server.post('/api/v1/cameras', {
      name: id,
      main_stream_url: world.cameras.cameras[index].url,
      segment_seconds: SEGMENT_SECONDS,
      record_audio: true,
    });
  }
  await Promise.all(CAMERAS.map(({ id }) => seconds(id, 7)));
  const live = meanwhile();
  await fault('cam1', 'param_change');
  await until(async () => (await segments('street')).some((segment) => segment.width === 960), 'the size has changed');
  await seconds('street', 3);
  await fault('cam1', 'param_change');
  await until(async () => (await segments('street')).at(-1).width === 640, 'the size has changed back');
  await Promise.all([seconds('street', 3), live]);
  await fault('all', 'refuse', { for: 3 });
  await Promise.all(CAMERAS.map(({ id }) => until(async () => (await health(id)).state === 'offline', `${id} is offline`)));
  await Promise.all(CAMERAS.map(({ id }) => until(async () => (await health(id)).state === 'recording', `${id} is back`)));
  await Promise.all(CAMERAS.map(({ id }) => seconds(id, 4)));
  // The end of such a file may hold a little less sound than pictures: what was to follow is lost.
  await world.server.kill();
  world.killed = Date.now();
  await world.server.start();
  await Promise.all(CAMERAS.map(({ id }) => until(async () => (await health(id)).state === 'recording', `${id} is recorded again`)));
  await Promise.all(CAMERAS.map(({ id }) => seconds(id, 4)));
  await world.server.call('PATCH', '/api/v1/cameras/yard', { main_stream_url: world.cameras.cameras.at(-1).url });
  await until(async () => !HIGH.test((await segments('yard')).at(-1).codec_string), 'the codec has changed');
  await Promise.all(CAMERAS.map(({ id }) => seconds(id, 5)));
  // Nothing moves any more, so that every test sees the same.
  await Promise.all(CAMERAS.map(({ id }) => world.server.call('PATCH', `/api/v1/cameras/${id}`, { record_enabled: false })));
  for (const { id } of CAMERAS) {
    await until(async () => !(await segments(id)).some((segment) => segment.open), `the last segment of ${id} is complete`);
    world.footage[id] = await judged(id);
  }
}

export async function endWorld() {
  await world.browser?.close();
  await world.server?.stop();
  await world.cameras?.stop();
  world.folder?.remove();
}

export const segments = (id) => world.server.get(`/api/v1/cameras/${id}/segments`);
const health = (id) => world.server.get(`/api/v1/cameras/${id}/health`);

async function fault(camera, name, more = {}) {
  const answer = await fetch(`${world.truth}/fault/${camera}?${new URLSearchParams({ name, ...more })}`, { method: 'POST' });
  if (!answer.ok) throw new Error(`fault ${name}: ${answer.status} ${await answer.text()}`);
}

/** Waits until so many more seconds are recorded without a break. */
async function seconds(id, count) {
  const newest = async () => Date.parse((await segments(id)).at(-1)?.end_time);
  const start = await until(newest, `${id} is being recorded`);
  await until(async () => (await newest()) >= start + count * 1000, `${count} s of ${id}`);
}

/**
 * What the recorded files of a camera hold, judged by ffmpeg: segments with their pictures in order of presentation, each
 * `{ number, start, end }` with wall times in milliseconds.
 */
async function judged(id) {
  const files = [];
  for (const segment of await segments(id)) {
    const path = join(world.folder.path, 'data', 'recordings', segment.path);
    const { status, pictures, troubles } = await presented(path);
    if (status !== 0 || troubles.length) throw new Error(`${segment.path}: ${troubles.join('\n')}`);
    const [start, end] = [time(segment.start_time), time(segment.end_time)];
    // The first picture is at the start of the file, whatever time ffmpeg gives it for the sake of reordering.
    const at = (picture) => start + (picture.time - pictures[0].time) * 1000;
    const shown = pictures.map((picture, index) => ({
      number: picture.number,
      start: at(picture),
      end: index + 1 < pictures.length ? at(pictures[index + 1]) : end,
    }));
    files.push({ ...segment, file: path, start, end, pictures: shown });
  }
  return { files, pictures: files.flatMap((file) => file.pictures), start: files[0].start, end: files.at(-1).end };
}

/** Milliseconds since 1970 of an RFC 3339 time in UTC, microseconds included. */
export function time(text) {
  const fraction = /\.(\d+)/.exec(text)?.[1] ?? '';
  return Date.parse(text) + Number(fraction.padEnd(6, '0').slice(3)) / 1000;
}

/** RFC 3339 with microseconds of milliseconds since 1970. */
export function rfc3339(ms) {
  const whole = Math.floor(ms);
  return `${new Date(whole).toISOString().slice(0, -1)}${String(Math.round((ms - whole) * 1000)).padStart(3, '0')}Z`;
}

/** What was recorded of a camera: `files`, `pictures`, `start` and `end`. */
export const footage = (id) => world.footage[id];

/** The picture on screen at an instant. */
export function pictureAt(pictures, instant) {
  return pictures.find((picture) => picture.start <= instant && instant < picture.end);
}

/** Starts a playback session over a window of a camera, in milliseconds since 1970. */
export function session(id, from, to) {
  return world.server.post(`/api/v1/cameras/${id}/playback/sessions`, { from: rfc3339(from), to: rfc3339(to) });
}
