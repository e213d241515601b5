// Who looks at footage leaves a trace: one row at once, one that sums up, one for each download.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Server, makeClip, scratch, startCameras, until } from './support.mjs';

test('reads of footage are audited', async (t) => {
  const folder = scratch();
  const clip = join(folder.path, 'clip.mp4');
  makeClip(clip);
  const cameras = await startCameras(['--cameras', '1', '--port', '0', '--video', clip]);
  const server = await new Server(join(folder.path, 'data')).start();
  t.after(async () => {
    await server.stop();
    await cameras.stop();
    folder.remove();
  });
  await server.post('/api/v1/cameras', { name: 'Gate', main_stream_url: cameras.cameras[0].url, segment_seconds: 2 });
  const segment = await until(async () => {
    const segments = await server.get('/api/v1/cameras/gate/segments');
    return segments.find((one) => !one.open);
  }, 'a complete segment');
  const window = { from: segment.start_time, to: segment.end_time };
  const rows = (action) => server.get(`/api/v1/audit?action=${action}`);
  const settled = (action, count) =>
    until(async () => {
      const found = await rows(action);
      return found.length >= count && found;
    }, `${count} rows of ${action}`);
  const read = async (path, headers) => {
    const answer = await fetch(server.url + path, { headers });
    assert.ok(answer.ok, `${path}: ${answer.status}`);
    return answer.arrayBuffer();
  };

  const session = await server.post('/api/v1/cameras/gate/playback/sessions', window);
  await read(session.playlist_url);
  const [first] = await settled('view_playback', 1);
  assert.equal(first.target_id, 'gate');
  assert.equal(first.actor, 'system');
  assert.deepEqual(first.detail, window);
  const query = new URLSearchParams(window);
  await read(session.playlist_url);
  await read(`${segment.url}?base=0`);
  await read(`/api/v1/cameras/gate/video.mp4?${query}`);
  for (let i = 0; i < 2; i++) await read(`/api/v1/cameras/gate/video.mp4?${query}&download=1`);
  // The rest of a download that was broken off is no other one.
  await read(`/api/v1/cameras/gate/video.mp4?${query}&download=1`, { range: 'bytes=100-' });
  assert.equal((await settled('download_media', 2)).length, 2);

  await server.stop();
  await server.start();
  const [summary, ...others] = await settled('view_playback', 2);
  assert.equal(others.length, 1);
  assert.equal(summary.detail.count, 4);
  assert.deepEqual({ from: summary.detail.from, to: summary.detail.to }, window);
  // What was read of it later is summed up, the two beginnings counting as one.
  const [parts, ...downloads] = await rows('download_media');
  assert.equal(downloads.length, 2);
  assert.equal(parts.detail.count, 2);
});
