// Pages of others in the browser of somebody who is signed in: another port of the same host, to which the browser sends
// the cookie along, and another host, to which it does not. Neither may read, change, watch or frame anything.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { PASSWORD, Server, launchBrowser, makeClip, playing, scratch, send, startCameras, until } from './support.mjs';

const ADMIN = 'ada';
/** The foreign page by how the browser sees it: SameSite looks at the host, an origin also at the port. */
const HOSTS = { 'another port of the host': '127.0.0.1', 'another host': 'localhost' };

let folder, cameras, server, browser, foreign;

before(async () => {
  folder = scratch();
  const clip = join(folder.path, 'clip.mp4');
  makeClip(clip);
  cameras = await startCameras(['--cameras', '1', '--port', '0', '--video', clip]);
  server = await new Server(join(folder.path, 'data'), { HELDAR_AUTH_ENABLED: 'true', HELDAR_API_HOST: '127.0.0.1' }).start();
  await server.setUp(ADMIN);
  await server.post('/api/v1/cameras', { name: 'Gate', main_stream_url: cameras.cameras[0].url, segment_seconds: 2 });
  await until(async () => (await server.get('/api/v1/cameras/gate/segments')).some((segment) => !segment.open), 'footage');
  foreign = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<!doctype html><title>Foreign</title><link rel="icon" href="data:,"><body>'));
  foreign.listen(0);
  await once(foreign, 'listening');
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  foreign?.close();
  await server?.stop();
  await cameras?.stop();
  folder?.remove();
});

afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
});

/** Somebody signed in, who opens the foreign page beside: both pages. */
async function lured(host) {
  const context = await browser.newContext();
  const own = await context.newPage();
  await own.goto(server.url);
  await send(own, 'Sign in', { username: ADMIN, password: PASSWORD });
  await playing(own);
  const page = await context.newPage();
  await page.goto(`http://${host}:${foreign.address().port}/`);
  return { own, page };
}

/** What the server answers a page from now on, which need not be what the page is shown: `METHOD PATH STATUS`. */
function answers(page) {
  const seen = [];
  page.on('response', (answer) => {
    if (answer.url().startsWith(server.url)) seen.push([answer.request().method(), new URL(answer.url()).pathname, answer.status()]);
  });
  return seen;
}

/** What a page gets by asking: `unreadable`, or what it may read. */
const attempt = (page, path, options) =>
  page.evaluate(
    async ([url, given]) => {
      try {
        const answer = await fetch(url, { credentials: 'include', ...given });
        return answer.type === 'opaque' ? 'unreadable' : `${answer.status} ${await answer.text()}`;
      } catch {
        return 'unreadable';
      }
    },
    [server.url + path, options],
  );

/** Status of the answer to a form that a page of its origin sends instead of itself. */
async function submit(opener, path) {
  const page = await opener.context().newPage();
  await page.goto(opener.url());
  const answered = page.waitForResponse((answer) => answer.url() === server.url + path);
  await page.evaluate((action) => {
    const form = Object.assign(document.createElement('form'), { method: 'post', action, enctype: 'text/plain' });
    document.body.append(form);
    form.submit();
  }, server.url + path);
  return (await answered).status();
}

const json = { headers: { 'content-type': 'application/json' } };
const user = JSON.stringify({ username: 'mallory', password: PASSWORD, role: 'admin' });
/** Requests by name; those without a preflight reach the server with all that they carry. */
const REQUESTS = [
  ['GET', '/api/v1/users', {}],
  ['GET', '/api/v1/auth/me', {}],
  ['GET', '/api/v1/auth/me', { mode: 'no-cors' }],
  ['POST', '/api/v1/users', { ...json, body: user }],
  ['POST', '/api/v1/users', { mode: 'no-cors', headers: { 'content-type': 'text/plain' }, body: user }],
  ['POST', '/api/v1/cameras/gate/playback/sessions', { mode: 'no-cors', headers: { 'content-type': 'text/plain' }, body: '{}' }],
  ['POST', '/live/whep/cam_gate', { mode: 'no-cors', headers: { 'content-type': 'text/plain' }, body: 'v=0' }],
  ['POST', '/live/whep/cam_gate', { headers: { 'content-type': 'application/sdp' }, body: 'v=0' }],
  ['PATCH', '/api/v1/cameras/gate', { ...json, body: '{"enabled":false}' }],
  ['DELETE', '/api/v1/cameras/gate', {}],
];

test('what a page of another origin changes with a cookie is refused, and why', async () => {
  for (const origin of ['http://127.0.0.1:1', 'http://localhost:1', 'https://example.org', 'null']) {
    for (const [method, path] of REQUESTS.filter(([method]) => method !== 'GET')) {
      const headers = { cookie: `heldar_session=${server.credential}`, origin };
      const { status, body } = await server.ask(method, path, { credential: '', headers });
      assert.deepEqual([status, body.code, body.reason], [403, 'forbidden', 'origin_not_allowed'], `${method} ${path} from ${origin}`);
    }
  }
});

for (const [name, host] of Object.entries(HOSTS)) {
  describe(`a page of ${name}`, () => {
    test('reads and changes nothing by fetch', async () => {
      const { own, page } = await lured(host);
      const seen = answers(page);
      for (const [method, path, options] of REQUESTS) {
        assert.equal(await attempt(page, path, { method, ...options }), 'unreadable', `${method} ${path}`);
      }
      // Within the site the cookie goes along, and the origin decides; from elsewhere it does not.
      const [reads, writes] = host === '127.0.0.1' ? [200, 403] : [401, 401];
      const expected = REQUESTS.filter(([, , { mode }]) => mode).map(([method, path]) => [method, path, method === 'GET' ? reads : writes]);
      assert.deepEqual(seen.filter(([method]) => method !== 'OPTIONS'), expected);
      // Nothing has changed, and whoever was signed in still is.
      assert.deepEqual((await server.get('/api/v1/users')).map(({ username }) => username), [ADMIN]);
      assert.equal((await server.get('/api/v1/cameras/gate')).enabled, true);
      assert.equal(await own.evaluate(async () => (await fetch('/api/v1/auth/me')).status), 200);
    });

    test('sends no form', async () => {
      const { own, page } = await lured(host);
      for (const path of ['/api/v1/users', '/api/v1/auth/login', '/api/v1/cameras/gate/playback/sessions']) {
        assert.ok((await submit(page, path)) >= 400, path);
      }
      assert.equal(await own.evaluate(async () => (await fetch('/api/v1/auth/me')).status), 200);
    });

    test('signs nobody out', async () => {
      const { own, page } = await lured(host);
      const session = (await page.context().cookies())[0].value;
      const ends = async () => {
        const { status } = await server.ask('GET', '/api/v1/auth/me', { credential: session });
        return [status, await own.evaluate(async () => (await fetch('/api/v1/auth/me')).status)];
      };
      await attempt(page, '/api/v1/auth/logout', { method: 'POST', mode: 'no-cors' });
      assert.deepEqual(await ends(), [200, 200], 'session and cookie after fetch');
      await submit(page, '/api/v1/auth/logout');
      assert.deepEqual(await ends(), [200, 200], 'session and cookie after a form');
    });

    test('opens no WebSocket and no event stream', async () => {
      const { own, page } = await lured(host);
      const opens = (on, make) =>
        on.evaluate(
          ([kind, address]) =>
            new Promise((done) => {
              const made = kind === 'WebSocket' ? new WebSocket(address) : new EventSource(address, { withCredentials: true });
              made.onopen = () => done('open');
              made.onerror = () => done('refused');
            }),
          make,
        );
      const socket = ['WebSocket', `${server.url.replace('http', 'ws')}/live/ws/cam_gate`];
      assert.equal(await opens(page, socket), 'refused');
      assert.equal(await opens(own, socket), 'open', 'the own page may');
      for (const path of ['/api/v1/events/stream', '/api/v1/events']) assert.equal(await opens(page, ['EventSource', server.url + path]), 'refused');
    });

    test('reads no picture', async () => {
      const { page } = await lured(host);
      const [segment] = await server.get('/api/v1/cameras/gate/segments');
      const query = new URLSearchParams({ from: segment.start_time, to: segment.end_time });
      const got = await page.evaluate(async (sources) => {
        const results = [];
        for (const [tag, src, crossOrigin] of sources) {
          const element = Object.assign(document.createElement(tag), { crossOrigin, muted: true });
          const loaded = new Promise((done) => {
            element.onload = element.onloadeddata = () => done(true);
            element.onerror = () => done(false);
          });
          element.src = src;
          let read = 'nothing';
          const isLoaded = await loaded;
          if (isLoaded) {
            if (tag === 'video') await Promise.all([element.play(), new Promise((shown) => element.requestVideoFrameCallback(shown))]);
            const canvas = new OffscreenCanvas(8, 8).getContext('2d');
            canvas.drawImage(element, 0, 0);
            try {
              read = canvas.getImageData(0, 0, 8, 8).data.some((value) => value > 0);
            } catch {
              read = 'tainted';
            }
          }
          results.push({ tag, crossOrigin, isLoaded, read });
        }
        return results;
      }, [null, 'use-credentials'].flatMap((mode) => [['img', `${server.url}/icon.svg`, mode], ['video', `${server.url}/api/v1/cameras/gate/video.mp4?${query}`, mode]]));
      assert.deepEqual(got.filter(({ read }) => read === true), []);
      assert.deepEqual(got.filter(({ isLoaded, read }) => isLoaded && read !== 'tainted'), []);
      assert.deepEqual(got.filter(({ crossOrigin, isLoaded }) => crossOrigin && isLoaded), []);
      // Without the cookie there is no footage at all.
      if (host !== '127.0.0.1') assert.deepEqual(got.filter(({ tag, isLoaded }) => tag === 'video' && isLoaded), []);
    });

    test('frames nothing, and holds no window of it', async () => {
      const { page } = await lured(host);
      for (const path of ['/', '/anything']) {
        await page.evaluate((src) => new Promise((done) => {
          document.querySelector('iframe')?.remove();
          const frame = Object.assign(document.createElement('iframe'), { src, onload: done });
          document.body.append(frame);
        }), server.url + path);
        await until(() => page.frames()[1]?.url().startsWith('chrome-error:'), `${path} is not framed`, 5_000);
      }
      const [opened] = await Promise.all([page.waitForEvent('popup'), page.evaluate((url) => { globalThis.held = open(url); }, server.url)]);
      await opened.waitForLoadState();
      await page.waitForFunction(() => globalThis.held.closed, undefined, { timeout: 5_000 });
    });
  });
}
