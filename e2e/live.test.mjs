// The embeddable player in Chromium, under the policy of the server's own page: each way for live pictures, cameras that go
// away or change, the past and back, and the end of a live view.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { numberOf } from './strip.mjs';
import { Server, freePort, launchBrowser, scratch, startCameras, until } from './support.mjs';

const WAYS = ['whep', 'ws', 'hls'];
/** Pictures in the scene before it begins again. */
const LOOP = 300;
/** A page that embeds the player, as anybody's could. */
const PAGE = `<!doctype html><meta charset="utf-8"><title>Embedded</title><link rel="icon" href="data:,">
<script type="module" src="/heldar-player.js"></script><script type="module" src="/embed.js"></script><body></body>`;
const SCRIPT = `const player = document.createElement('heldar-player');
for (const [name, value] of new URLSearchParams(location.search)) player.setAttribute(name, value);
document.body.append(player);`;

let folder, cameras, truth, server, browser;
/** A view that was ended, footage that never was, a playlist that waits for a camera that is away. */
const EXPECTED = /status of (403|404|503)/;
/** What pages complained of. */
const complaints = [];

before(async () => {
  folder = scratch();
  const [port, http] = [await freePort(), await freePort()];
  cameras = await startCameras(['--cameras', '5', '--port', `${port}`, '--http-port', `${http}`, '--profile', 'plain,aac_audio,plain,plain,h265']);
  truth = `http://127.0.0.1:${http}`;
  const web = join(folder.path, 'web');
  mkdirSync(web);
  for (const [name, text] of [['index.html', PAGE], ['embed.js', SCRIPT]]) writeFileSync(join(web, name), text);
  server = await new Server(join(folder.path, 'data'), { HELDAR_WEB_DIR: web }).start();
  for (const [index, name] of ['Gate', 'Street', 'Yard', 'Lobby', 'Roof'].entries()) {
    await server.post('/api/v1/cameras', { name, main_stream_url: cameras.cameras[index].url, segment_seconds: 4, record_audio: true });
  }
  await until(async () => (await seconds('gate')) > 8, 'footage of the gate');
  const policy = (await fetch(server.url)).headers.get('content-security-policy');
  assert.match(policy, /default-src 'self'/);
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
  await cameras?.stop();
  folder?.remove();
});

/** Seconds that are recorded of a camera. */
async function seconds(id) {
  return (await server.get(`/api/v1/cameras/${id}/segments`)).reduce((sum, segment) => sum + segment.duration_s, 0);
}

async function fault(camera, name, more = {}) {
  const answer = await fetch(`${truth}/fault/${camera}?${new URLSearchParams({ name, ...more })}`, { method: 'POST' });
  assert.ok(answer.ok);
}

/** Opens the page with a player. `prepare` runs before anything of the page. */
async function open(camera, { transports = WAYS, prepare } = {}) {
  const context = await browser.newContext({ viewport: { width: 800, height: 600 } });
  const page = await context.newPage();
  page.on('console', (message) => message.type() === 'error' && !EXPECTED.test(message.text()) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  if (prepare) await page.addInitScript(prepare);
  await page.goto(`${server.url}/?${new URLSearchParams({ camera, transports: transports.join(' ') })}`);
  await page.waitForFunction(() => document.querySelector('heldar-player')?.player);
  return page;
}

const close = (page) => page.context().close();

/** What the player says of itself. */
const told = (page) =>
  page.evaluate(() => {
    const { player } = document.querySelector('heldar-player');
    const { state, reason, transport, codec, width, height, latency, live, instant, video } = player;
    return { state, reason, transport, codec, width, height, latency, live, instant, at: video?.currentTime ?? -1 };
  });

const state = (page, wanted, timeout = 20_000) =>
  page.waitForFunction((names) => names.includes(document.querySelector('heldar-player').state), [wanted].flat(), { timeout });

/** Number of the picture on screen, when the player says that it was captured, and what its element is like. */
async function picture(page) {
  const { levels, ...rest } = await page.evaluate(async () => {
    const { player } = document.querySelector('heldar-player');
    const { video } = player;
    if (!video.paused) await Promise.race([new Promise((seen) => video.requestVideoFrameCallback(seen)), new Promise((late) => setTimeout(late, 500))]);
    const side = video.videoWidth / 40;
    const canvas = new OffscreenCanvas(40, 1).getContext('2d');
    canvas.drawImage(video, 0, side * 1.3, video.videoWidth, side * 0.4, 0, 0, 40, 1);
    const { data } = canvas.getImageData(0, 0, 40, 1);
    return { levels: Array.from({ length: 40 }, (_, block) => data[4 * block]), instant: player.instant, ready: video.readyState, width: video.videoWidth };
  });
  return { number: numberOf(levels), ...rest };
}

/** Waits until pictures go by: time and numbers rise. */
async function runs(page) {
  await state(page, 'playing');
  const first = await until(async () => {
    const seen = await picture(page);
    return seen.number >= 0 && { ...seen, at: (await told(page)).at };
  }, 'a picture with a number');
  await until(async () => {
    const [{ number }, { at }] = [await picture(page), await told(page)];
    const risen = (number - first.number + LOOP) % LOOP;
    return at > first.at && number >= 0 && risen > 5 && risen < LOOP / 2;
  }, 'pictures go by');
}

/** How far the picture on screen is from when the player says it was captured, in milliseconds. */
async function off(page, camera) {
  const { number, instant } = await picture(page);
  const sent = await (await fetch(`${truth}/sent/${camera}?n=${number}&limit=20`)).json();
  return Math.min(...sent.map(({ sent_at_us }) => Math.abs(sent_at_us / 1000 - instant)));
}

for (const way of WAYS) {
  describe(`by ${way}`, () => {
    test('pictures play, and are told what, when and how old', async () => {
      const page = await open('street', { transports: [way] });
      await runs(page);
      const { transport, codec, width, height, latency, live } = await until(async () => {
        const seen = await told(page);
        return seen.codec && seen.width && seen;
      }, 'what is played is known');
      assert.deepEqual([transport, codec, width, height, live], [way, 'H.264', 640, 360, true]);
      assert.ok(latency > -0.1 && latency < 4, `${latency} s`);
      const offs = [];
      while (offs.length < 5) offs.push(await off(page, 'cam2'));
      // The best of a few: a busy machine shows and reads some late.
      assert.ok(Math.min(...offs) < 80, `pictures are ${offs} ms off`);
      await close(page);
    });

    test('a camera that is lost leaves its last picture, and is back by itself', async () => {
      const page = await open('yard', { transports: [way] });
      await runs(page);
      await fault('cam3', 'refuse', { for: 3 });
      await state(page, ['stalled', 'offline', 'connecting']);
      const { ready, number } = await picture(page);
      assert.ok(ready >= 2 && number >= 0, 'the last picture stays');
      // Heldar itself tries again less and less often.
      await state(page, 'playing', 60_000);
      await runs(page);
      await close(page);
    });

    test('another size of picture is no interruption', async () => {
      const page = await open('lobby', { transports: [way] });
      await runs(page);
      const { width } = await picture(page);
      await fault('cam4', 'param_change');
      await until(async () => (await picture(page)).width !== width, 'another size');
      await runs(page);
      await close(page);
    });

    test('a view that is ended stays so', async () => {
      const page = await open('gate', { transports: [way] });
      await runs(page);
      const mine = async () => (await server.get('/api/v1/live/sessions')).filter((each) => each.camera_id === 'gate');
      const sessions = await mine();
      assert.deepEqual(sessions.map(({ transport }) => transport), [way]);
      await server.call('DELETE', `/api/v1/live/sessions/${sessions[0].id}`);
      await state(page, 'ended');
      assert.notEqual((await told(page)).reason, '');
      assert.ok((await picture(page)).ready >= 2, 'the last picture stays');
      await new Promise((resolve) => setTimeout(resolve, 3000));
      assert.equal((await told(page)).state, 'ended');
      assert.deepEqual(await mine(), []);
      // Somebody who asks for it watches again.
      await page.evaluate(() => document.querySelector('heldar-player').play());
      await runs(page);
      await close(page);
    });
  });
}

test('a way that is not there is passed over', async () => {
  const page = await open('gate', { prepare: () => delete globalThis.RTCPeerConnection });
  await runs(page);
  assert.equal((await told(page)).transport, 'ws');
  await close(page);
  const other = await open('gate', {
    prepare: () => {
      delete globalThis.RTCPeerConnection;
      delete globalThis.WebSocket;
    },
  });
  await runs(other);
  assert.equal((await told(other)).transport, 'hls');
  await close(other);
});

test('to the past and back, on one clock and never without a picture', async () => {
  const page = await open('gate');
  await runs(page);
  await page.evaluate(() => {
    globalThis.blanks = 0;
    const { player } = document.querySelector('heldar-player');
    const look = () => {
      // While it goes to another time, an element keeps the picture that it had.
      if (!(player.video?.videoWidth && (player.video.readyState >= 2 || player.video.seeking))) globalThis.blanks += 1;
      requestAnimationFrame(look);
    };
    look();
  });
  const wanted = Date.now() - 6_000;
  await page.evaluate((instant) => document.querySelector('heldar-player').seek(new Date(instant)), wanted);
  const first = await picture(page);
  assert.equal((await told(page)).live, false);
  assert.ok(first.instant > wanted - 100 && first.instant < wanted + 2_000, `${first.instant - wanted} ms from where it should be`);
  await runs(page);
  const offs = [];
  while (offs.length < 5) offs.push(await off(page, 'cam1'));
  assert.ok(Math.min(...offs) < 80, `pictures are ${offs} ms off`);
  // Within the session.
  await page.evaluate((instant) => document.querySelector('heldar-player').seek(instant), wanted + 500);
  await until(async () => Math.abs((await told(page)).instant - wanted) < 2_500, 'half a second on from there');
  await page.evaluate(() => document.querySelector('heldar-player').seek('live'));
  await page.waitForFunction(() => {
    const { player } = document.querySelector('heldar-player');
    return player.live && player.transport && player.state === 'playing' && Date.now() - player.instant < 2_000;
  });
  await runs(page);
  assert.equal(await page.evaluate(() => globalThis.blanks), 0);
  // What was never recorded is no reason to stop.
  const refused = page.evaluate(() => document.querySelector('heldar-player').seek(new Date('2020-01-01')).then(() => '', (error) => error.message));
  assert.match(await refused, /footage/);
  await runs(page);
  assert.equal((await told(page)).live, true);
  await close(page);
});

test('controls by keyboard, and what they say', async () => {
  const page = await open('gate');
  await runs(page);
  const player = page.locator('heldar-player');
  await player.focus();
  await page.keyboard.press('k');
  await state(page, 'paused');
  await player.getByRole('button', { name: 'Play', exact: true }).waitFor();
  await page.keyboard.press('k');
  await runs(page);
  await page.keyboard.press('m');
  await player.getByRole('button', { name: 'Sound off' }).waitFor();
  await page.keyboard.press('ArrowLeft');
  await page.waitForFunction(() => !document.querySelector('heldar-player').live);
  await runs(page);
  await page.getByText('recorded · H.264').waitFor();
  await player.getByRole('button', { name: 'Go to live' }).click();
  await page.waitForFunction(() => document.querySelector('heldar-player').player.transport);
  await player.getByText(/^(WebRTC|WebSocket|HLS) · H\.264 · 640 × 360 · (≈ )?[\d.]+ s$/).waitFor();
  await close(page);
});

test('nobody else has complained', () => {
  assert.deepEqual(complaints, []);
});

test('what cannot be watched is said', async () => {
  const gone = await open('nowhere');
  await state(gone, 'ended');
  assert.match((await told(gone)).reason, /camera/i);
  await close(gone);
  await server.call('PATCH', '/api/v1/cameras/yard', { enabled: false });
  const off = await open('yard');
  await state(off, 'offline');
  assert.match((await told(off)).reason, /disabled|off/i);
  await server.call('PATCH', '/api/v1/cameras/yard', { enabled: true });
  await runs(off);
  await close(off);
});

test('a coding that the browser does not play is named', async () => {
  await until(async () => (await seconds('roof')) > 1, 'footage of the roof');
  const page = await open('roof');
  const plays = await page.evaluate(() => MediaSource.isTypeSupported('video/mp4; codecs="hvc1.1.6.L93.B0"'));
  if (plays) {
    await state(page, 'playing');
    assert.equal((await told(page)).codec, 'H.265');
  } else {
    await state(page, 'offline', 40_000);
    assert.match((await told(page)).reason, /^The camera sends H\.265, which /);
    await page.getByText(/^The camera sends H\.265/).waitFor();
  }
  await close(page);
});
