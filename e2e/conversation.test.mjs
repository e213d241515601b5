// The API as a plain HTTP client talks to it, without cookies: signing in, being locked out, users, keys, what a limited
// key is refused, and the trail that all of it leaves. Each answer has its documented status and fields.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { PASSWORD, Server, scratch } from './support.mjs';

const ADMIN = 'ada';
const WRONG = 'wrong horse 47';

// Shapes: what each field is; those whose name ends in `?` may be null or left out.
const text = (value) => typeof value === 'string' && value !== '';
const flag = (value) => typeof value === 'boolean';
const time = (value) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(value) && !Number.isNaN(Date.parse(value));
const texts = (value) => Array.isArray(value) && value.every(text);
const any = () => true;
const shape = (fields) => (value) => mismatches(value, fields).length === 0;
const list = (fields) => (value) => Array.isArray(value) && value.every(shape(fields));

const SCOPE = { scope_kind: text, scope_cameras: texts, scope_sites: texts };
const USER = {
  ...{ id: text, username: text, role: text, 'display_name?': text, active: flag, created_at: time, updated_at: time },
  ...{ ...SCOPE, unknown_scope_ids: texts, capabilities: texts, allowed_networks: texts },
  ...{ 'last_login_at?': time, 'locked_until?': time, must_change_password: flag },
};
const KEY = {
  ...{ id: text, name: text, key_prefix: text, role: text, active: flag, 'last_used_at?': time, created_at: time, capabilities: texts },
  ...{ legacy_role_expansion: flag, unknown_capabilities: texts, ...SCOPE, unknown_scope_ids: texts, 'expires_at?': time, 'revoked_at?': time },
  ...{ 'description?': text, allowed_networks: texts, 'last_used_ip?': text, 'created_by?': text },
};
const MINTED = {
  ...{ id: text, name: text, role: text, key: (value) => /^vok_[0-9a-f]{64}$/.test(value), 'capabilities?': texts, legacy_role_expansion: flag },
  ...{ scope_kind: text, scope_cameras: texts, 'scope_sites?': texts, 'expires_at?': time, 'unknown_scope_ids?': texts },
};
const LOGIN = { token: (value) => /^vos_[0-9a-f]{64}$/.test(value), expires_at: time, user: shape(USER) };
const GRANT = { capabilities: texts, scope: any };
const ME = {
  ...{ id: text, name: text, role: text, kind: text, 'username?': text, capabilities: texts, scope: any, grants: list(GRANT) },
  ...{ 'session?': shape({ id: text, expires_at: time, 'idle_expires_at?': time }), must_change_password: flag, auth: shape({ enabled: flag, open: flag }) },
};
const SESSION = { id: (value) => value.startsWith('ses_'), created_at: time, last_used_at: time, expires_at: time, 'ip?': text, 'user_agent?': text, current: flag };
const ROW = {
  ...{ id: text, actor: text, 'actor_name?': text, 'role?': text, action: text, 'target_type?': text, 'target_id?': text, detail: any, created_at: time },
  ...{ 'subject_camera_id?': text, outcome: (value) => ['ok', 'denied', 'failed'].includes(value), 'ip?': text, 'user_agent?': text },
  ...{ 'request_id?': text, 'credential_id?': text, 'before?': any, 'after?': any },
};
/** Other pages of the contract say what more a camera's state has. */
const HEALTH = ({ camera_id: id, state }) => text(id) && state === 'disabled';
const ERROR = { error: text, code: text, request_id: (value) => value.startsWith('req_'), 'reason?': text, 'field?': text, 'index?': Number.isInteger, 'details?': any };

/** What of a value is not as its fields say; nothing more may be there either. */
function mismatches(value, fields) {
  if (value === null || typeof value !== 'object') return [`${value} is no object`];
  const known = Object.keys(fields).map((name) => name.replace('?', ''));
  const found = Object.keys(value).filter((name) => !known.includes(name)).map((name) => `${name} is not documented`);
  for (const [name, isRight] of Object.entries(fields)) {
    const field = value[name.replace('?', '')];
    const isAbsent = field === undefined || field === null;
    if (isAbsent ? !name.endsWith('?') : !isRight(field)) found.push(`${name} is ${JSON.stringify(field)}`);
  }
  return found;
}

let folder, server;
/** What was learnt on the way, by name; `{name}` stands for it in paths. */
const known = {};

before(async () => {
  folder = scratch();
  const env = { HELDAR_AUTH_ENABLED: 'true', HELDAR_API_HOST: '127.0.0.1' };
  server = await new Server(join(folder.path, 'data'), env).start();
  await server.setUp(ADMIN);
  // Cameras that nobody answers for: their rights count here, not their pictures.
  for (const name of ['Gate', 'Yard']) await server.post('/api/v1/cameras', { name, main_stream_url: 'rtsp://127.0.0.1:9/none', enabled: false });
});

after(async () => {
  await server?.stop();
  folder?.remove();
});

/**
 * One turn: who asks (a name in `known`, '' for nobody, `key:` for X-API-Key), what, with which body; the status and the
 * shape of the answer (for errors code and reason); and what is learnt from it.
 */
async function turn([who, method, path, body, status, expected, learn]) {
  const told = `${who || 'nobody'}: ${method} ${path} ${JSON.stringify(body) ?? ''}`;
  const isKey = who.startsWith('key:');
  const secret = who && (known[who.replace('key:', '')] ?? assert.fail(`${who} is not known`));
  const filled = path.replace(/\{(\w+)\}/g, (_, name) => known[name]);
  const answer = await server.ask(method, filled, { body, credential: isKey ? '' : secret, headers: isKey ? { 'x-api-key': secret } : {} });
  assert.equal(answer.status, status, `${told}: ${answer.text}`);
  assert.match(answer.headers.get('x-request-id') ?? '', /^req_/, told);
  if (status >= 400) {
    assert.deepEqual(mismatches(answer.body, ERROR), [], told);
    assert.deepEqual([answer.body.code, answer.body.reason].filter(Boolean).join(' '), expected, told);
    if (status === 401) assert.match(answer.headers.get('www-authenticate') ?? '', /^Bearer realm="heldar"/, told);
  } else if (expected === null) {
    assert.equal(answer.text, '', told);
  } else if (typeof expected === 'function') {
    assert.ok(expected(answer.body), `${told}: ${answer.text}`);
  } else if (Array.isArray(expected)) {
    assert.ok(Array.isArray(answer.body) && answer.body.length > 0, told);
    for (const item of answer.body) assert.deepEqual(mismatches(item, expected[0]), [], told);
  } else {
    assert.deepEqual(mismatches(answer.body, expected), [], told);
  }
  assert.ok(!/argon2|password_hash/.test(answer.text), `${told} tells no hash`);
  if (!path.includes('auth/log')) assert.equal(answer.headers.get('set-cookie'), null, `${told} sets no cookie`);
  Object.assign(known, learn?.(answer.body));
}

async function talk(...turns) {
  for (const each of turns) await turn(each);
}

const login = (username, password = PASSWORD) => ({ username, password });
const learnToken = (name) => ({ token }) => ({ [name]: token });

describe('a conversation', () => {
  test('signing in and out', () =>
    talk(
      ['', 'GET', '/api/v1/auth/methods', undefined, 200, { auth_enabled: flag, open: flag, password: flag, setup_needed: flag }],
      ['', 'GET', '/api/v1/auth/me', undefined, 401, 'unauthenticated no_credential'],
      ['', 'GET', '/api/v1/cameras', undefined, 401, 'unauthenticated no_credential'],
      ['', 'GET', '/api/v1/no/such/path', undefined, 401, 'unauthenticated no_credential'],
      ['', 'POST', '/api/v1/auth/login', login(ADMIN, WRONG), 401, 'unauthenticated sign_in_failed'],
      ['', 'POST', '/api/v1/auth/login', login('nobody'), 401, 'unauthenticated sign_in_failed'],
      ['', 'POST', '/api/v1/auth/login', { username: ADMIN }, 422, 'invalid_body'],
      ['', 'POST', '/api/v1/auth/login', { ...login(ADMIN), cookie_only: true }, 200, { expires_at: time, user: shape(USER) }],
      ['', 'POST', '/api/v1/auth/login', login(ADMIN.toUpperCase()), 200, LOGIN, learnToken('admin')],
      ['', 'POST', '/api/v1/auth/login', login(ADMIN), 200, LOGIN, learnToken('second')],
      ['admin', 'GET', '/api/v1/auth/me', undefined, 200, ME],
      ['key:admin', 'GET', '/api/v1/auth/me', undefined, 200, ME],
      ['admin', 'GET', '/api/v1/auth/sessions', undefined, 200, [SESSION]],
      ['second', 'POST', '/api/v1/auth/logout', undefined, 204, null],
      ['second', 'GET', '/api/v1/auth/me', undefined, 401, 'unauthenticated invalid_credential'],
      ['second', 'POST', '/api/v1/auth/logout', undefined, 204, null],
      ['admin', 'GET', '/api/v1/no/such/path', undefined, 404, 'not_found'],
    ));

  test('users', () =>
    talk(
      ['admin', 'POST', '/api/v1/users', { ...login('vic'), display_name: 'Vic', scope_kind: 'cameras', scope_cameras: ['gate', 'gone'] }, 201, USER, ({ id, unknown_scope_ids: unknown, role }) => {
        assert.deepEqual([role, unknown], ['viewer', ['gone']]);
        return { vicId: id };
      }],
      ['admin', 'POST', '/api/v1/users', login('VIC'), 409, 'conflict'],
      ['admin', 'POST', '/api/v1/users', login('short', '1234567'), 400, 'validation'],
      ['admin', 'POST', '/api/v1/users', { ...login('odd'), role: 'king' }, 400, 'validation'],
      ['admin', 'POST', '/api/v1/users', { ...login('odd'), role: 'admin', scope_kind: 'cameras', scope_cameras: ['gate'] }, 400, 'validation'],
      ['admin', 'POST', '/api/v1/users', { ...login('odd'), scope_kind: 'cameras' }, 400, 'validation'],
      ['admin', 'GET', '/api/v1/users', undefined, 200, [USER]],
      ['admin', 'GET', '/api/v1/users/{vicId}', undefined, 200, USER],
      ['admin', 'GET', '/api/v1/users/nobody', undefined, 404, 'not_found'],
      ['', 'POST', '/api/v1/auth/login', login('vic'), 200, LOGIN, learnToken('vic')],
      ['vic', 'GET', '/api/v1/users', undefined, 403, 'forbidden missing_capability'],
      ['vic', 'GET', '/api/v1/cameras/gate/health', undefined, 200, HEALTH],
      ['vic', 'GET', '/api/v1/cameras/yard/health', undefined, 403, 'forbidden out_of_scope'],
      ['vic', 'POST', '/api/v1/auth/password', { current_password: WRONG, new_password: 'battery staple' }, 400, 'validation'],
      ['vic', 'POST', '/api/v1/auth/password', { current_password: PASSWORD, new_password: 'battery staple' }, 204, null],
      ['vic', 'GET', '/api/v1/auth/me', undefined, 200, ME],
      ['admin', 'GET', '/api/v1/users/{vicId}/sessions', undefined, 200, [SESSION]],
      ['admin', 'PATCH', '/api/v1/users/{vicId}', { password: PASSWORD, must_change_password: true }, 200, USER],
      ['vic', 'GET', '/api/v1/auth/me', undefined, 401, 'unauthenticated invalid_credential'],
      ['', 'POST', '/api/v1/auth/login', login('vic'), 200, LOGIN, learnToken('vic')],
      ['vic', 'GET', '/api/v1/cameras', undefined, 403, 'forbidden password_change_required'],
      ['vic', 'GET', '/api/v1/auth/me', undefined, 200, ME],
      ['admin', 'PATCH', '/api/v1/users/{vicId}', { must_change_password: false }, 200, USER],
      ['vic', 'GET', '/api/v1/cameras/gate/health', undefined, 200, HEALTH],
      ['admin', 'GET', '/api/v1/auth/me', undefined, 200, ME, ({ id }) => ({ adminId: id })],
      ['admin', 'DELETE', '/api/v1/users/{adminId}', undefined, 400, 'validation'],
      ['admin', 'PATCH', '/api/v1/users/{adminId}', { active: false }, 400, 'validation'],
      ['admin', 'PATCH', '/api/v1/users/{adminId}', { role: 'viewer' }, 400, 'validation'],
    ));

  test('five wrong passwords lock an account for that client, until it is unlocked', () =>
    talk(
      ...Array(5).fill(['', 'POST', '/api/v1/auth/login', login('vic', WRONG), 401, 'unauthenticated sign_in_failed']),
      ['', 'POST', '/api/v1/auth/login', login('vic'), 401, 'unauthenticated sign_in_failed'],
      ['vic', 'GET', '/api/v1/auth/me', undefined, 200, ME],
      ['admin', 'GET', '/api/v1/users/{vicId}', undefined, 200, { ...USER, locked_until: time }],
      ['admin', 'POST', '/api/v1/users/{vicId}/unlock', undefined, 200, USER, ({ locked_until: until }) => assert.equal(until ?? null, null)],
      ['', 'POST', '/api/v1/auth/login', login('vic'), 200, LOGIN],
    ));

  const GATE_KEY = { name: 'Gate reader', capabilities: ['camera:read', 'video:live'], scope_kind: 'cameras', scope_cameras: ['gate'] };
  test('keys', () =>
    talk(
      ['admin', 'POST', '/api/v1/api-keys', GATE_KEY, 201, MINTED, ({ id, key }) => ({ keyId: id, gate: key })],
      ['admin', 'POST', '/api/v1/api-keys', { name: 'Legacy' }, 201, MINTED, ({ capabilities, legacy_role_expansion: isLegacy, role }) => assert.deepEqual([capabilities ?? null, isLegacy, role], [null, true, 'integration'])],
      ['admin', 'POST', '/api/v1/api-keys', { name: 'King', role: 'admin' }, 400, 'privilege_confirmation_required'],
      ['admin', 'POST', '/api/v1/api-keys', { name: 'Odd', capabilities: ['camera:eat'] }, 400, 'validation'],
      ['admin', 'POST', '/api/v1/api-keys', { name: 'Odd', capabilities: [] }, 400, 'validation'],
      ['admin', 'POST', '/api/v1/api-keys', { ...GATE_KEY, capabilities: undefined }, 400, 'validation'],
      ['admin', 'GET', '/api/v1/api-keys', undefined, 200, [KEY]],
      ['gate', 'GET', '/api/v1/auth/me', undefined, 200, ME],
      ['key:gate', 'GET', '/api/v1/auth/me', undefined, 200, ME],
      ['key:gate', 'GET', '/api/v1/cameras/gate/health', undefined, 200, HEALTH],
      ['key:gate', 'GET', '/api/v1/cameras/yard/health', undefined, 403, 'forbidden out_of_scope'],
      ['gate', 'GET', '/api/v1/cameras/yard', undefined, 403, 'forbidden out_of_scope'],
      ['gate', 'GET', '/api/v1/cameras/nowhere', undefined, 403, 'forbidden out_of_scope'],
      ['gate', 'GET', '/api/v1/cameras/gate/segments', undefined, 403, 'forbidden missing_capability'],
      ['gate', 'GET', '/api/v1/api-keys', undefined, 403, 'forbidden missing_capability'],
      ['gate', 'GET', '/api/v1/auth/sessions', undefined, 403, 'forbidden'],
      ['admin', 'PATCH', '/api/v1/api-keys/{keyId}', { scope_cameras: ['yard'] }, 200, KEY],
      ['gate', 'GET', '/api/v1/cameras/yard/health', undefined, 200, HEALTH],
      ['gate', 'GET', '/api/v1/cameras/gate/health', undefined, 403, 'forbidden out_of_scope'],
      ['admin', 'PATCH', '/api/v1/api-keys/{keyId}', { capabilities: ['registry:manage'] }, 400, 'privilege_confirmation_required'],
      ['admin', 'POST', '/api/v1/api-keys/{keyId}/rotate', {}, 200, { id: text, key: text, key_prefix: text, 'old_valid_until?': time }, ({ key }) => ({ rotated: key })],
      ['gate', 'GET', '/api/v1/auth/me', undefined, 401, 'unauthenticated invalid_credential'],
      ['rotated', 'GET', '/api/v1/auth/me', undefined, 200, ME],
      ['admin', 'PATCH', '/api/v1/api-keys/{keyId}', { revoked_at: '2026-01-01T00:00:00Z' }, 200, KEY],
      ['rotated', 'GET', '/api/v1/auth/me', undefined, 401, 'unauthenticated invalid_credential'],
      ['admin', 'GET', '/api/v1/api-keys/{keyId}', undefined, 200, { ...KEY, revoked_at: time }],
      ['admin', 'DELETE', '/api/v1/api-keys/{keyId}', undefined, 204, null],
      ['admin', 'DELETE', '/api/v1/api-keys/{keyId}', undefined, 404, 'not_found'],
    ));

  test('the end of a user', () =>
    talk(
      ['admin', 'DELETE', '/api/v1/users/{vicId}', undefined, 204, null],
      ['vic', 'GET', '/api/v1/auth/me', undefined, 401, 'unauthenticated invalid_credential'],
      ['admin', 'DELETE', '/api/v1/users/{vicId}', undefined, 404, 'not_found'],
    ));

  test('the trail of it', async () => {
    await talk(['admin', 'GET', '/api/v1/audit?limit=5000', undefined, 200, [ROW], (rows) => ({ rows })]);
    const { rows, vicId, keyId } = known;
    const expected = {
      setup_admin: [], login: [], logout: [], login_failed: [], create_camera: [],
      create_user: [vicId], update_user: [vicId], change_password: [vicId], login_locked: [vicId], unlock_user: [vicId], delete_user: [vicId],
      create_api_key: [keyId], update_api_key: [keyId], rotate_api_key: [keyId], delete_api_key: [keyId],
    };
    for (const [action, targets] of Object.entries(expected)) {
      const found = rows.filter((row) => row.action === action);
      assert.ok(found.length > 0, `${action} has left a row`);
      for (const target of targets) assert.ok(found.some((row) => row.target_id === target), `${action} names its target: ${JSON.stringify(found)}`);
    }
    assert.ok(rows.filter(({ action }) => action === 'login_failed').every(({ outcome }) => outcome !== 'ok'));
    const unknown = rows.filter(({ actor }) => actor === 'anonymous');
    assert.ok(unknown.length > 0 && unknown.every(({ actor_name: name }) => (name ?? null) === null), 'names that nobody has are not kept');
    const whole = JSON.stringify(rows);
    for (const secret of [PASSWORD, WRONG, 'battery staple', known.gate, known.rotated, known.admin]) assert.ok(!whole.includes(secret), 'the trail keeps no secret');
  });
});
