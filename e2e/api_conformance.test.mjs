// The API against its own description: whatever schemathesis thinks of sending, no answer is a failure of the server, and
// every answer has a status, a content type, headers and a shape that the description names.
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { makeClip, scratch, Server, startCameras, until } from './support.mjs';

const binary = process.env.E2E_BINARY ?? new URL('../target/debug/heldar', import.meta.url).pathname;
/** Installed by scripts/setup.sh beside what is built. */
const schemathesis = join(dirname(binary), '../schemathesis/bin/schemathesis');

/** What it must be taught. */
const hooks = new URL('./schemathesis_hooks.py', import.meta.url).pathname;

const checks = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
  'unsupported_method',
  'allow_header_conformance',
];

function startCamera(folder) {
  const clip = join(folder, 'clip.mp4');
  makeClip(clip);
  return startCameras(['--cameras', '1', '--port', '0', '--video', clip]);
}

/** Names what exists, so that requests get past 404. */
function configuration(segment, window, clip) {
  const [, , , camera, file] = segment.url.split('/');
  return `
hooks = "${hooks}"

[[operations]]
include-path-regex = '^/live/'
parameters = { "path.path" = "cam_${camera}" }

[[operations]]
include-path-regex = '^/api/v1/cameras/\\{id\\}/'
parameters = { "path.id" = "${camera}" }

[[operations]]
include-path-regex = '^/api/v1/cameras/\\{id\\}/video'
parameters = { "path.id" = "${camera}", "query.from" = "${window.from}", "query.to" = "${window.to}" }

[[operations]]
include-name = 'GET /api/v1/clips/{id}'
parameters = { "path.id" = "${clip.id}" }

[[operations]]
include-path = '/media/clips/{file}'
parameters = { "path.file" = "${clip.filename}" }

[[operations]]
include-path = '/media/recordings/{camera}/{file}'
parameters = { "path.camera" = "${camera}", "path.file" = "${file}" }
`;
}

test('every answer is as the description says', { timeout: 600_000 }, async (t) => {
  if (!existsSync(schemathesis)) {
    t.skip('schemathesis is not installed: scripts/setup.sh test');
    return;
  }
  const folder = scratch();
  const cameras = await startCamera(folder.path);
  const server = await new Server(join(folder.path, 'data'), { HELDAR_MIN_FREE_DISK_GB: '0' }).start();
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
  const made = await server.post('/api/v1/cameras/gate/clip', window);

  const config = join(folder.path, 'schemathesis.toml');
  writeFileSync(config, configuration(segment, window, made));
  const run = spawnSync(
    schemathesis,
    [
      ...['--config-file', config, 'run', `${server.url}/api/v1/openapi.json`, '--url', server.url],
      ...['--checks', checks.join(','), '--phases', 'coverage,fuzzing', '--max-examples', '25', '--seed', '1'],
      // What it deletes, others could not ask for any more; and a test of a camera may take 12 s.
      ...['--exclude-name', 'DELETE /api/v1/cameras/{id}', '--exclude-path', '/api/v1/cameras/{id}/test'],
      ...['--generation-with-security-parameters', 'false', '--generation-database', 'none'],
      // One worker: ast.parse of CPython 3.11 fails at random when two threads are in it (CPython issue 106905).
      ...['--workers', '1', '--continue-on-failure', '--warnings', 'off', '--no-color'],
    ],
    { encoding: 'utf8', maxBuffer: 64 << 20, cwd: folder.path },
  );
  if (run.error) throw run.error;
  t.diagnostic(run.stdout.trim().split('\n').at(-1));
  if (run.status !== 0) throw new Error(`${run.stdout}\n${run.stderr}`);
});
