// Who may use the page, in Chromium: the first administrator, signing in and out, people limited to a camera, sessions that
// somebody else ends, passwords that must be changed.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { PASSWORD, Server, freePort, launchBrowser, listen, playing, scratch, send, startCameras, until } from './support.mjs';

const SIZES = [
  { width: 1280, height: 800 },
  { width: 390, height: 844 },
];
/** Folder for pictures of what is tested, for people to look at; none are made without it. */
const SHOTS = process.env.E2E_SHOTS;
const ADMIN = 'ada';

let folder, cameras, server, browser, link;
/** What pages complained of. */
const complaints = [];
/** Who asks without a session, or with one that is over, is told so; a wrong password is one. */
const isExpected = (words) => /^(401 \/api|40[13] \/(live|media))\//.test(words);

before(async () => {
  folder = scratch();
  const [port, http] = [await freePort(), await freePort()];
  cameras = await startCameras(['--cameras', '2', '--port', `${port}`, '--http-port', `${http}`, '--profile', 'plain,plain']);
  server = await new Server(join(folder.path, 'data'), { HELDAR_AUTH_ENABLED: 'true', HELDAR_API_HOST: '127.0.0.1' }).start();
  link = await server.setUpLink();
  browser = await launchBrowser();
  if (SHOTS) mkdirSync(SHOTS, { recursive: true });
});

after(async () => {
  await browser?.close();
  await server?.stop();
  await cameras?.stop();
  folder?.remove();
});

afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
});

/** A browser of its own at that address. `prepare` runs before anything of the page. */
async function open(address = server.url, prepare) {
  const context = await browser.newContext({ viewport: SIZES[0], timezoneId: 'Asia/Kolkata' });
  const page = await context.newPage();
  await listen(page, complaints, isExpected);
  if (prepare) await page.addInitScript(prepare);
  await page.goto(address);
  return page;
}

const form = (page, label = 'Sign in') => page.getByRole('form', { name: label });
const isIn = (page) => page.locator('#main').waitFor();
const signIn = (page, username, password = PASSWORD) => send(page, 'Sign in', { username, password });
const shownCameras = (page) => page.locator('.camera').evaluateAll((rows) => rows.map((row) => row.dataset.camera));

async function signedIn(username, { address, prepare } = {}) {
  const page = await open(address, prepare);
  await signIn(page, username);
  await isIn(page);
  return page;
}

async function cookie(page) {
  return (await page.context().cookies()).find(({ name }) => name === 'heldar_session');
}

/** Checks at both sizes that all there is to be used is in reach, and keeps pictures of it. */
async function look(page, name) {
  for (const size of SIZES) {
    await page.setViewportSize(size);
    // The timeline is drawn anew with the next frame.
    await page.waitForFunction(() => document.scrollingElement.scrollWidth === innerWidth, undefined, { timeout: 2_000 }).catch(() => {});
    const found = await page.evaluate(() => {
      const usable = [...document.querySelectorAll('button, input:not([type=checkbox]), select, a')].filter((each) => each.checkVisibility());
      const out = usable.filter((each) => {
        const box = each.getBoundingClientRect();
        return box.left < 0 || box.right > innerWidth || box.width < 24 || box.height < 23.5;
      });
      return { aside: document.scrollingElement.scrollWidth - innerWidth, out: out.map((each) => each.id || each.name || each.className), count: usable.length };
    });
    assert.equal(found.aside, 0, `${name} at ${size.width}: nothing to scroll to the side for`);
    assert.deepEqual(found.out, [], `${name} at ${size.width}`);
    assert.ok(found.count > 0);
    if (SHOTS) await page.screenshot({ path: join(SHOTS, `access-${name}-${size.width}.png`) });
  }
  await page.setViewportSize(SIZES[0]);
}

/** No secret is where scripts could take it from. */
async function holdsNoSecret(page) {
  const kept = await page.evaluate(async () => ({
    storage: [...Object.entries(localStorage), ...Object.entries(sessionStorage)],
    cookie: document.cookie,
    databases: (await indexedDB.databases()).length,
    caches: await globalThis.caches?.keys(),
    history: JSON.stringify(history.state),
    markup: /vo[sk]_|vst_/.test(document.documentElement.outerHTML),
  }));
  assert.deepEqual({ ...kept, caches: kept.caches ?? [] }, { storage: [], cookie: '', databases: 0, caches: [], history: 'null', markup: false });
}

describe('the first administrator', () => {
  test('is made by nobody who lacks the link', async () => {
    const page = await open();
    await page.getByText('heldar setup-link').waitFor();
    assert.equal(await page.locator('form').filter({ visible: true }).count(), 0);
    await look(page, 'setup-link');
  });

  test('is made with the link, and stays signed in', async () => {
    const page = await open(link);
    await form(page, 'First administrator').waitFor();
    assert.equal(page.url(), `${server.url}/`, 'the token has left the address');
    await look(page, 'setup');
    const given = { username: ADMIN, display_name: 'Ada Lovelace', password: PASSWORD, again: PASSWORD };
    await send(page, 'First administrator', { ...given, again: 'another one' });
    await page.getByText('This is not the same password.').waitFor();
    await send(page, 'First administrator', { ...given, password: 'short', again: 'short' });
    await page.getByText('At least 8 characters are needed.').waitFor();
    await send(page, 'First administrator', given);
    await isIn(page);
    await page.getByText('No cameras yet').waitFor();
    assert.equal(await page.textContent('#account-name'), 'Ada Lovelace');
    await look(page, 'no-cameras');
    await page.reload();
    await isIn(page);
    assert.equal(await page.locator('#entry').isVisible(), false);
    const { value, expires, ...rest } = await cookie(page);
    assert.match(value, /^vos_[0-9a-f]{64}$/);
    assert.ok(expires > Date.now() / 1000 + 3600);
    assert.deepEqual(rest, { name: 'heldar_session', domain: '127.0.0.1', path: '/', httpOnly: true, secure: false, sameSite: 'Strict' });
    await holdsNoSecret(page);
  });

  test('is made once: the link then leads to the sign-in form', async () => {
    const page = await open(link);
    await form(page).waitFor();
    assert.equal(page.url(), `${server.url}/`);
    const again = { setup_token: link.split('#setup=')[1], username: 'eve', password: PASSWORD };
    assert.equal((await server.ask('POST', '/api/v1/auth/setup', { body: again })).status, 409);
  });
});

test('a camera that is added shows its pictures to who is signed in', async () => {
  await server.signIn(ADMIN);
  const page = await signedIn(ADMIN);
  for (const [index, name] of ['Front gate', 'Loading bay'].entries()) {
    const { id } = await server.post('/api/v1/cameras', { name, main_stream_url: cameras.cameras[index].url, segment_seconds: 2 });
    await until(async () => (await server.get(`/api/v1/cameras/${id}/segments`)).length > 3, `footage of ${id}`);
  }
  await page.getByText('2 of 2 recording').waitFor();
  await playing(page);
  assert.deepEqual(await shownCameras(page), ['front_gate', 'loading_bay']);
  await page.locator('.camera rect.recorded').first().waitFor({ state: 'attached' });
  await look(page, 'main');
  await page.click('#account');
  await page.locator('#account-menu').waitFor();
  await look(page, 'menu');
});

/** An instant that every camera has recorded, as the address names it. */
async function recorded(id) {
  const segments = await server.get(`/api/v1/cameras/${id}/segments`);
  return new Date(Date.parse(segments[1].start_time) + 500).toISOString();
}

/** Goes to that place in the past and stands still there; the address that it has then. */
async function standAt(page, hash) {
  await page.evaluate((wanted) => { location.hash = wanted; }, hash);
  await page.locator('#screen[data-source=footage][data-phase=ready]').waitFor();
  if ((await page.getAttribute('#play', 'aria-label')) === 'Pause') await page.click('#play');
  await page.waitForFunction(() => document.querySelector('#play').ariaLabel === 'Play');
  return page.evaluate(() => location.hash);
}

/** Waits until footage is shown, and checks that it goes on from that place. */
async function goesOnAt(page, place) {
  await page.locator('#screen[data-source=footage][data-phase=ready]').waitFor();
  const [then, now] = [place, await page.evaluate(() => location.hash)].map((hash) => hash.split('@'));
  assert.equal(now[0], then[0]);
  const on = Date.parse(now[1]) - Date.parse(then[1]);
  assert.ok(on > -100 && on < 3_000, `${on} ms from ${place}`);
}

test('whoever signs out and in again is back at the same place', async () => {
  const hash = `#loading_bay@${await recorded('loading_bay')}`;
  const page = await signedIn(ADMIN);
  await playing(page);
  const place = await standAt(page, hash);
  const { value } = await cookie(page);
  await page.click('#account');
  await page.click('#account-out');
  await form(page).waitFor();
  assert.equal(await page.evaluate(() => location.hash), place);
  assert.equal(await cookie(page), undefined);
  assert.equal((await server.ask('GET', '/api/v1/auth/me', { credential: value })).status, 401, 'the session is over');
  await look(page, 'sign-in');

  await signIn(page, ADMIN, 'wrong horse 47');
  await page.locator('#entry .trouble', { hasText: /\S/ }).waitFor();
  await look(page, 'wrong');
  assert.equal(await page.evaluate(() => document.activeElement.name), 'password');
  assert.equal(await cookie(page), undefined);
  await page.keyboard.type(PASSWORD);
  await page.keyboard.press('Enter');
  await isIn(page);
  await goesOnAt(page, place);
  await holdsNoSecret(page);
});

/** Makes somebody, and returns their id. */
async function make(username, more = {}) {
  return (await server.post('/api/v1/users', { username, password: PASSWORD, role: 'viewer', ...more })).id;
}

const GATE_ONLY = { scope_kind: 'cameras', scope_cameras: ['front_gate'] };

test('who is limited to a camera sees that one alone, live and recorded', async () => {
  await make('vic', GATE_ONLY);
  // The address of what may not be seen leads to what may.
  const page = await signedIn('vic', { address: `${server.url}/#loading_bay` });
  await page.getByText('1 of 1 recording').waitFor();
  await playing(page);
  assert.deepEqual(await shownCameras(page), ['front_gate']);
  assert.ok(!(await page.innerText('body')).includes('Loading'), 'the other one is named nowhere');
  for (const id of ['add-open', 'add-first', 'remove-open']) assert.equal(await page.locator(`#${id}`).isVisible(), false, id);
  await page.locator('#screen-facts', { hasText: /^(WebRTC|WebSocket) · H\.264/ }).waitFor();
  await look(page, 'limited');
  await page.keyboard.press('ArrowLeft');
  await page.locator('#screen[data-source=footage][data-phase=ready]').waitFor();
  await playing(page);
  const paths = ['cameras/loading_bay', 'cameras/loading_bay/liveview', 'cameras/loading_bay/segments', 'cameras/nowhere', 'users', 'live/sessions'];
  const statuses = await page.evaluate((list) => Promise.all(list.map(async (path) => (await fetch(`/api/v1/${path}`)).status)), paths);
  assert.deepEqual(statuses, paths.map(() => 403));
  const refused = complaints.splice(0).filter((words) => !paths.some((path) => words === `403 /api/v1/${path}`));
  assert.deepEqual(refused, []);
});

describe('a session that an administrator ends', () => {
  const viewer = 'wim';
  let id;
  before(async () => {
    id = await make(viewer, GATE_ONLY);
  });

  const views = async () => (await server.get('/api/v1/live/sessions')).length;
  const times = (page) => page.locator('video').evaluateAll((videos) => videos.map((video) => video.currentTime));

  const ways = {
    WebRTC: () => {},
    WebSocket: () => delete globalThis.RTCPeerConnection,
    HLS: () => {
      delete globalThis.RTCPeerConnection;
      delete globalThis.WebSocket;
    },
  };
  for (const [way, prepare] of Object.entries(ways)) {
    test(`stops pictures by ${way}, and signing in brings them back`, async (t) => {
      await until(async () => (await views()) === 0, 'nobody watches');
      const page = await signedIn(viewer, { prepare });
      await playing(page);
      await page.locator('#screen-facts', { hasText: way }).waitFor();
      assert.equal(await views(), 1);
      const began = Date.now();
      await server.call('DELETE', `/api/v1/users/${id}/sessions`);
      await until(async () => (await views()) === 0, 'the server has cut it', 2_000);
      const cut = Date.now() - began;
      await form(page).waitFor({ timeout: 5_000 - cut });
      t.diagnostic(`${way}: cut after ${cut} ms, form after ${Date.now() - began} ms`);
      const asked = [];
      page.on('request', (request) => asked.push(request.url()));
      const stopped = await times(page);
      await page.getByText('The session has ended.').waitFor();
      await new Promise((resolve) => setTimeout(resolve, 2_500));
      assert.deepEqual(await times(page), stopped, 'pictures stand still');
      // The form itself asks once how one may sign in.
      const others = asked.filter((url) => !url.endsWith('/api/v1/auth/methods'));
      assert.deepEqual(others, [], 'nothing else is asked for');
      assert.ok(asked.length <= 1, `${asked}`);
      assert.equal(await views(), 0);
      if (way === 'WebRTC') await look(page, 'ended');

      await signIn(page, viewer);
      await isIn(page);
      await playing(page);
      await page.locator('#screen[data-source=live]').waitFor();
      assert.equal(await page.evaluate(() => location.hash), '#front_gate');
    });
  }

  test('leaves the place in the past where it was', async () => {
    const page = await signedIn(viewer);
    await playing(page);
    const place = await standAt(page, `#front_gate@${await recorded('front_gate')}`);
    await server.call('DELETE', `/api/v1/users/${id}/sessions`);
    await form(page).waitFor({ timeout: 5_000 });
    await signIn(page, viewer);
    await isIn(page);
    await goesOnAt(page, place);
  });

  test('leaves nothing to somebody else who signs in there', async () => {
    const page = await signedIn(ADMIN);
    await playing(page);
    await page.locator('.camera[data-camera=loading_bay] .head').click();
    await playing(page);
    await page.evaluate(() => fetch('/api/v1/auth/logout', { method: 'POST' }));
    await form(page).waitFor();
    await signIn(page, viewer);
    await page.getByText('1 of 1 recording').waitFor();
    await playing(page);
    assert.ok(!(await page.innerText('body')).includes('Loading'));
  });
});

test('a password that must be changed is asked for before anything else', async () => {
  await make('nia', { must_change_password: true, display_name: 'Nia' });
  const page = await open();
  await signIn(page, 'nia');
  await form(page, 'Change password').waitFor();
  assert.equal(await page.locator('#main').isVisible(), false);
  await look(page, 'change');
  const chosen = 'battery staple 12';
  const given = { current_password: PASSWORD, new_password: chosen, again: chosen };
  await send(page, 'Change password', { ...given, current_password: 'not this one' });
  await page.locator('#entry .wrong', { hasText: /\S/ }).filter({ visible: true }).waitFor();
  await page.reload();
  await send(page, 'Change password', given);
  await isIn(page);
  await page.getByText('2 of 2 recording').waitFor();
  assert.equal((await server.ask('POST', '/api/v1/auth/login', { body: { username: 'nia', password: PASSWORD } })).status, 401);
  const others = complaints.splice(0).filter((words) => words !== '400 /api/v1/auth/password');
  assert.deepEqual(others, []);
});

test('pages have complained of nothing', () => {
  assert.deepEqual(complaints, []);
});
