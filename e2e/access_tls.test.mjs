// Signed in over TLS: the cookie stays on it, live pictures and footage come by it, and nothing is asked for without it.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PASSWORD, Server, freePort, launchBrowser, listen, playing, scratch, send, startCameras } from './support.mjs';

const ADMIN = 'ada';

let folder, cameras, server, browser, page;
/** What the page complained of, and addresses of all that it asked for. */
const complaints = [];
const asked = [];
const isExpected = (words) => /^401 \/api\/v1\/auth\/me$/.test(words);

before(async () => {
  folder = scratch();
  const port = await freePort();
  cameras = await startCameras(['--cameras', '1', '--port', `${port}`]);
  const env = { HELDAR_AUTH_ENABLED: 'true', HELDAR_API_HOST: '127.0.0.1', HELDAR_TLS: 'self-signed' };
  server = await new Server(join(folder.path, 'data'), env).start();
  browser = await launchBrowser(undefined, ['--ignore-certificate-errors']);
});

after(async () => {
  await browser?.close();
  await server?.stop();
  await cameras?.stop();
  folder?.remove();
});

/** A page at that address; `prepare` runs before anything of it. */
async function open(address, { context, prepare } = {}) {
  const opened = await (context ?? (await browser.newContext({ ignoreHTTPSErrors: true }))).newPage();
  await listen(opened, complaints, isExpected);
  opened.on('request', (request) => asked.push(request.url()));
  opened.on('websocket', (socket) => asked.push(socket.url()));
  if (prepare) await opened.addInitScript(prepare);
  await opened.goto(address);
  return opened;
}

test('the first administrator is made, and the cookie is for TLS alone', async () => {
  const link = await server.setUpLink();
  assert.match(link, /^https:/);
  page = await open(link);
  await send(page, 'First administrator', { username: ADMIN, password: PASSWORD, again: PASSWORD });
  await page.locator('#main').waitFor();
  const [{ name, secure, httpOnly, sameSite }] = await page.context().cookies();
  assert.deepEqual({ name, secure, httpOnly, sameSite }, { name: 'heldar_session', secure: true, httpOnly: true, sameSite: 'Strict' });
  assert.equal(await page.evaluate(() => globalThis.isSecureContext), true);
  assert.equal(await page.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol), 'h2');
});

test('signing out and in, on a device that is remembered', async () => {
  await page.click('#account');
  await page.click('#account-out');
  await page.getByLabel('Remember this device').check();
  await send(page, 'Sign in', { username: ADMIN, password: PASSWORD });
  await page.locator('#main').waitFor();
  const kept = await page.context().cookies([server.url, `${server.url}/api/v1/auth/login`]);
  const facts = kept.map(({ name, path, secure, httpOnly, sameSite }) => [name, path, secure, httpOnly, sameSite]).sort();
  assert.deepEqual(facts, [
    ['heldar_device', '/api/v1/auth', true, true, 'Strict'],
    ['heldar_session', '/', true, true, 'Strict'],
  ]);
});

test('live pictures and footage come', async () => {
  await page.click('#add-first');
  await page.fill('#add-form [name=name]', 'Gate');
  await page.fill('#add-form [name=main_stream_url]', cameras.cameras[0].url);
  await page.click('#add-submit');
  await playing(page);
  await page.locator('#screen-facts', { hasText: /^WebRTC/ }).waitFor();
  await page.locator('.camera rect.recorded').first().waitFor({ state: 'attached' });
  await page.keyboard.press('ArrowLeft');
  await page.locator('#screen[data-source=footage][data-phase=ready]').waitFor();
  await playing(page);
});

const ways = {
  WebSocket: () => delete globalThis.RTCPeerConnection,
  HLS: () => {
    delete globalThis.RTCPeerConnection;
    delete globalThis.WebSocket;
  },
};
for (const [way, prepare] of Object.entries(ways)) {
  test(`live pictures come by ${way}`, async () => {
    const other = await open(server.url, { context: page.context(), prepare });
    await playing(other);
    await other.locator('#screen-facts', { hasText: way }).waitFor();
    await other.close();
  });
}

test('nothing was asked for without TLS, and nobody has complained', () => {
  const schemes = new Set(asked.map((url) => new URL(url).protocol));
  assert.deepEqual([...schemes].filter((scheme) => !['https:', 'wss:', 'blob:', 'data:'].includes(scheme)), []);
  assert.ok(schemes.has('https:') && schemes.has('wss:'));
  assert.deepEqual(complaints, []);
});
