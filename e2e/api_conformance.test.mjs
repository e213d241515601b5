// The API against its own description: whatever schemathesis thinks of sending, no answer is a failure of the server, and
// every answer has a status, a content type, headers and a shape that the description names. All of it with open access;
// smaller samples as an administrator, and as a key that is limited to one of two cameras. In `make soak` as many as with
// open access, and as every other role too.
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { collect } from './strip.mjs';
import { PASSWORD, makeClip, scratch, Server, startCameras, until } from './support.mjs';

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
  'hidden_camera_is_never_named',
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

const isSoak = process.env.HELDAR_SOAK === '1';

const needsSchemathesis = { timeout: isSoak ? 3_600_000 : 600_000, skip: existsSync(schemathesis) ? false : 'schemathesis is not installed: scripts/setup.sh test' };

/**
 * What it deletes, others could not ask for any more. It may do everything to accounts: who asks is a key, which no
 * password, session or sign-out touches; the users and keys that it is told of are spare ones, and it cannot guess its own.
 */
const LEFT_OUT = [
  ...['--exclude-name', 'DELETE /api/v1/cameras/{id}'],
  // A test of a camera may take 12 s.
  ...['--exclude-path', '/api/v1/cameras/{id}/test'],
  // An answer that does not end.
  ...['--exclude-path', '/api/v1/events/stream'],
];

/** Names a spare user and a spare key, except to what would delete them. */
const spares = (user, key) =>
  [
    ...['GET /api/v1/users/{id}', 'PATCH /api/v1/users/{id}', 'GET /api/v1/users/{id}/sessions', 'POST /api/v1/users/{id}/unlock'].map((name) => [name, user]),
    ...['GET /api/v1/api-keys/{id}', 'PATCH /api/v1/api-keys/{id}', 'POST /api/v1/api-keys/{id}/rotate'].map((name) => [name, key]),
  ]
    .map(([name, { id }]) => `
[[operations]]
include-name = '${name}'
parameters = { "path.id" = "${id}" }
`)
    .join('');

let folder, cameras;

before(async () => {
  folder = scratch();
  cameras = await startCamera(folder.path);
});

after(async () => {
  await cameras?.stop();
  folder?.remove();
});

/** A server with footage of one camera and a clip of it, and what schemathesis is told of them. `enter` makes who asks. */
async function begin(t, name, env, enter = () => {}) {
  const server = await new Server(join(folder.path, name), { HELDAR_MIN_FREE_DISK_GB: '0', HELDAR_API_HOST: '127.0.0.1', ...env }).start();
  t.after(() => server.stop());
  await enter(server);
  await server.post('/api/v1/cameras', { name: 'Gate', main_stream_url: cameras.cameras[0].url, segment_seconds: 2 });
  const segment = await until(async () => {
    const segments = await server.get('/api/v1/cameras/gate/segments');
    return segments.find((one) => !one.open);
  }, 'a complete segment');
  const window = { from: segment.start_time, to: segment.end_time };
  const clip = await server.post('/api/v1/cameras/gate/clip', window);
  return { server, toml: configuration(segment, window, clip) };
}

/** Lets schemathesis ask, with a key if one is given, for answers none of which may name the camera `hidden`. */
async function judge(t, { server, toml }, more, { key, hidden } = {}) {
  const config = join(server.folder, 'schemathesis.toml');
  writeFileSync(config, toml);
  // From a file: to who asks for it, the server would want to know who that is.
  const description = join(server.folder, 'openapi.json');
  writeFileSync(description, JSON.stringify(await server.get('/api/v1/openapi.json')));
  const args = [
    ...['--config-file', config, 'run', description, '--url', server.url],
    ...['--checks', checks.join(','), '--seed', '1', ...LEFT_OUT],
    ...['--generation-with-security-parameters', 'false', '--generation-database', 'none'],
    // One worker: ast.parse of CPython 3.11 fails at random when two threads are in it (CPython issue 106905).
    ...['--workers', '1', '--continue-on-failure', '--warnings', 'off', '--no-color', ...more],
  ];
  if (key) args.push('--header', `X-API-Key: ${key}`);
  const env = { ...process.env, ...(hidden && { HIDDEN: hidden }) };
  const { status, out, err } = await collect(schemathesis, args, { cwd: server.folder, env });
  t.diagnostic(`${out}`.trim().split('\n').at(-1));
  if (status !== 0) throw new Error(`${out}\n${err}`);
}

test('every answer is as the description says', needsSchemathesis, async (t) => {
  await judge(t, await begin(t, 'open', {}), ['--phases', 'coverage,fuzzing', '--max-examples', '25']);
});

describe('with access control', () => {
  const SAMPLE = ['--phases', 'coverage,fuzzing', '--max-examples', isSoak ? '25' : '2'];
  const HIDDEN = 'zq7yard';

  test('every answer to an administrator is', needsSchemathesis, async (t) => {
    const { server, toml } = await begin(t, 'closed', { HELDAR_AUTH_ENABLED: 'true' }, (server) => server.setUp('ada'));
    const user = await server.post('/api/v1/users', { username: 'spare', password: PASSWORD });
    const spare = await server.post('/api/v1/api-keys', { name: 'Spare' });
    const { key } = await server.post('/api/v1/api-keys', { name: 'Tester', role: 'admin', confirm_privileged: true });
    await judge(t, { server, toml: toml + spares(user, spare) }, SAMPLE, { key });
    assert.equal((await server.ask('GET', '/api/v1/auth/me', { credential: key })).status, 200, 'the key works to the end');
  });

  for (const role of isSoak ? ['manager', 'guard', 'viewer', 'integration'] : []) {
    test(`every answer to a key of role ${role} is`, needsSchemathesis, async (t) => {
      const { server, toml } = await begin(t, role, { HELDAR_AUTH_ENABLED: 'true' }, (server) => server.setUp('ada'));
      const { key } = await server.post('/api/v1/api-keys', { name: role, role, confirm_privileged: true });
      await judge(t, { server, toml }, SAMPLE, { key });
      assert.equal((await server.ask('GET', '/api/v1/auth/me', { credential: key })).status, 200, 'the key works to the end');
    });
  }

  test('every answer to a key that is limited to a camera is, and none names another', needsSchemathesis, async (t) => {
    const { server, toml } = await begin(t, 'limited', { HELDAR_AUTH_ENABLED: 'true' }, (server) => server.setUp('ada'));
    await server.post('/api/v1/cameras', { id: HIDDEN, name: HIDDEN, main_stream_url: cameras.cameras[0].url });
    const { capabilities } = await server.get('/api/v1/auth/me');
    const held = capabilities.filter((each) => each !== 'admin');
    const given = { name: 'Gate', capabilities: held, confirm_privileged: true, scope_kind: 'cameras', scope_cameras: ['gate'] };
    const { key } = await server.post('/api/v1/api-keys', given);
    await judge(t, { server, toml }, SAMPLE, { key, hidden: HIDDEN });
    assert.equal((await server.ask('GET', '/api/v1/auth/me', { credential: key })).status, 200, 'the key works to the end');
  });
});
