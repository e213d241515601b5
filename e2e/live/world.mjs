// Cameras that are watched, never recorded: each is pulled because somebody looks.
import { join } from 'node:path';
import { Server, freePort, scratch, startCameras } from '../support.mjs';

/** Id and profile of each test camera; those with a profile have no sub stream. */
const CAMERAS = [
  { id: 'pcmu', profile: 'pcmu_audio' },
  { id: 'aac', profile: 'aac_audio' },
  { id: 'mute', profile: 'audio_stalls' },
  { id: 'hevc', profile: 'h265' },
  { id: 'reordered', profile: 'b_frames' },
];

/** Server, test cameras by id, and the address where faults are asked for. */
export const world = {};

export async function begin() {
  world.folder = scratch();
  const [port, http, scene] = [await freePort(), await freePort(), await freePort()];
  const profiles = CAMERAS.map(({ profile }) => profile).join();
  world.cameras = await startCameras(['--cameras', `${CAMERAS.length}`, '--port', `${port}`, '--http-port', `${http}`, '--profile', profiles]);
  world.truth = `http://127.0.0.1:${http}`;
  world.scene = await startCameras(['--cameras', '1', '--port', `${scene}`]);
  world.server = await new Server(join(world.folder.path, 'data')).start();
  const [{ url: main, sub_url: sub }] = world.scene.cameras;
  for (const [index, { id }] of CAMERAS.entries()) await add(id, world.cameras.cameras[index].url);
  await add('plain', main, sub);
  // Big pictures that few can play, and small ones that all can.
  await add('both', world.cameras.cameras[CAMERAS.findIndex(({ id }) => id === 'hevc')].url, sub);
}

export async function end() {
  await world.server?.stop();
  await world.scene?.stop();
  await world.cameras?.stop();
  world.folder?.remove();
}

/** Adds a camera that is not recorded. */
export function add(name, main, sub) {
  return world.server.post('/api/v1/cameras', { name, main_stream_url: main, sub_stream_url: sub, record_enabled: false });
}

/** Test cameras are named by their order. */
const faulty = (id) => `cam${CAMERAS.findIndex((camera) => camera.id === id) + 1}`;

export async function fault(id, name, more = {}) {
  const answer = await fetch(`${world.truth}/fault/${faulty(id)}?${new URLSearchParams({ name, ...more })}`, { method: 'POST' });
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
}

export const liveview = (id, stream = 'auto') => world.server.get(`/api/v1/cameras/${id}/liveview?stream=${stream}`);

export const sessions = async (id) => (await world.server.get('/api/v1/live/sessions')).filter(({ camera_id: camera }) => camera === id);

/** Numbers that rise by one from picture to picture, where the loop of the clip may begin anew. */
export function rises(numbers, loop = 500) {
  return numbers.every((number, index) => number >= 0 && (index === 0 || number === (numbers[index - 1] + 1) % loop || number === 0));
}
