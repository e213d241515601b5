// The sidecar of examples/: it is told of everybody who comes into a zone, however often it or the server is killed.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratch, Server, until } from './support.mjs';

const program = new URL('../examples/sidecar/doorbell.py', import.meta.url).pathname;
const hasPython = spawnSync('python3', ['--version']).status === 0;

test('nobody is missed', { timeout: 120_000, skip: hasPython ? false : 'python3 is not installed' }, async (t) => {
  const folder = scratch();
  const server = new Server(join(folder.path, 'data'), { HELDAR_API_HOST: '127.0.0.1', HELDAR_AUTH_ENABLED: 'true', HELDAR_RECORDER_ENABLED: 'false' });
  await server.start();
  await server.setUp('ada');
  for (const name of ['gate', 'yard']) {
    await server.post('/api/v1/cameras', { id: name, name });
    await server.post(`/api/v1/cameras/${name}/zones`, { name: 'all', polygon: [[0, 0], [1, 0], [1, 1], [0, 1]], config: { confirm_frames: 1 } });
  }
  const { key } = await server.post('/api/v1/api-keys', { name: 'bell', role: 'integration', capabilities: ['events:read'], scope_kind: 'cameras', scope_cameras: ['gate'] });

  const printed = join(folder.path, 'printed');
  let sidecar;
  const start = () => {
    const out = openSync(printed, 'a');
    sidecar = spawn('python3', [program, join(folder.path, 'seq')], { env: { ...process.env, HELDAR_API: server.url, HELDAR_API_KEY: key }, stdio: ['ignore', out, 'ignore'] });
    closeSync(out);
  };
  const kill = async () => {
    sidecar.kill('SIGKILL');
    await once(sidecar, 'exit');
  };
  start();
  t.after(async () => {
    await kill();
    await server.stop();
    folder.remove();
  });

  let track = 0;
  const seen = async (camera) => {
    const body = { camera_id: camera, task_type: 'any', detections: [{ label: 'person', track_id: `${track}`, bbox: [0.4, 0.4, 0.1, 0.2] }] };
    await server.post('/api/v1/ai/events', body);
    track += 1;
  };
  for (let round = 0; round < 4; round += 1) {
    for (let count = 0; count < 5; count += 1) {
      await seen('gate');
      await seen('yard');
    }
    if (round === 0) await kill();
    if (round === 1) start();
    if (round === 2) {
      await server.kill();
      await server.start();
    }
  }
  const lines = () => readFileSync(printed, 'utf8').split('\n').filter(Boolean);
  const told = () => new Set(lines().map((line) => line.split(' ')[0]));
  await until(() => told().size >= 20, 'everybody is told of');
  const events = await server.get('/api/v1/events?camera_id=gate&event_type=zone_enter');
  assert.equal(events.length, 20);
  assert.deepEqual(told(), new Set(events.map((event) => `${event.seq}`)));
  assert.ok(lines().every((line) => line.includes(' gate all person')), lines());
});
