// The worker contract, judged by the conformance suite of the Python package: a server that lets everybody in, and one where a
// worker has a key.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { scratch, Server, startCameras } from './support.mjs';

const binary = process.env.E2E_BINARY ?? new URL('../target/debug/heldar', import.meta.url).pathname;
/** Installed by scripts/setup.sh beside what is built. */
const python = join(dirname(binary), '../worker/bin/python');
const sdk = new URL('../sdk/python/src', import.meta.url).pathname;
const options = { timeout: 300_000, skip: existsSync(python) ? false : 'what the worker package needs is not installed: scripts/setup.sh test' };

let folder, cameras;

before(async () => {
  folder = scratch();
  cameras = await startCameras(['--cameras', '1', '--port', '0']);
});

after(async () => {
  await cameras?.stop();
  folder?.remove();
});

/** What the suite reports of a server's only camera. */
async function judge(server, env = {}, more = []) {
  await server.post('/api/v1/cameras', { name: 'Gate', main_stream_url: cameras.cameras[0].url });
  const args = ['-m', 'heldar_worker', 'conformance', '--server', server.url, '--camera', 'gate', '--json', ...more];
  const suite = spawn(python, args, { env: { ...process.env, PYTHONPATH: sdk, PYTHONDONTWRITEBYTECODE: '1', ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const [out, err] = ['', ''].map(() => []);
  suite.stdout.on('data', (data) => out.push(data));
  suite.stderr.on('data', (data) => err.push(data));
  const [status] = await once(suite, 'close');
  const text = Buffer.concat(out).toString();
  assert.match(text, /^\{/, `status ${status}: ${Buffer.concat(err)}`);
  const report = JSON.parse(text);
  const failed = report.checks.filter((check) => check.outcome === 'failed');
  assert.deepEqual(failed, []);
  assert.equal(status, 0);
  return report.checks.filter((check) => check.outcome === 'passed').length;
}

test('a server with open access', options, async (t) => {
  const server = await new Server(join(folder.path, 'open'), { HELDAR_MIN_FREE_DISK_GB: '0', HELDAR_API_HOST: '127.0.0.1' }).start();
  t.after(() => server.stop());
  assert.ok((await judge(server)) > 40);
});

test('a server with access control', options, async (t) => {
  const server = await new Server(join(folder.path, 'closed'), { HELDAR_MIN_FREE_DISK_GB: '0', HELDAR_API_HOST: '127.0.0.1', HELDAR_AUTH_ENABLED: 'true' }).start();
  t.after(() => server.stop());
  await server.setUp('ada');
  const { key } = await server.post('/api/v1/api-keys', { name: 'suite', role: 'admin', confirm_privileged: true });
  assert.ok((await judge(server, { SUITE_KEY: key }, ['--api-key-env', 'SUITE_KEY'])) > 40);
});
