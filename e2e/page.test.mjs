// The built-in page in Chromium: what it shows of cameras, going to any instant, export, keys, and two sizes of screen.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { numberOf, presented } from './strip.mjs';
import { Server, freePort, launchBrowser, playing, scratch, startCameras, until } from './support.mjs';

const SIZES = [
  { width: 1280, height: 800 },
  { width: 390, height: 844 },
];

let folder, cameras, truth, server, browser, page;
/** What the page complained of. */
const complaints = [];

before(async () => {
  folder = scratch();
  const [port, http] = [await freePort(), await freePort()];
  cameras = await startCameras(['--cameras', '3', '--port', `${port}`, '--http-port', `${http}`, '--profile', 'aac_audio,plain,plain']);
  truth = `http://127.0.0.1:${http}`;
  server = await new Server(join(folder.path, 'data')).start();
  for (const [index, name] of ['Front gate', 'Loading bay'].entries()) await add(name, cameras.cameras[index].url);
  await until(async () => (await footage('loading_bay')) > 7, 'seven seconds of both cameras');
  await fault('cam2', 'refuse', { for: 2 });
  const state = async () => (await server.get('/api/v1/cameras/loading_bay/health')).state;
  await until(async () => (await state()) === 'offline', 'the loading bay is offline');
  await until(async () => (await state()) === 'recording', 'the loading bay is back');
  await until(async () => (await footage('loading_bay')) > 14, 'twice as much');
  browser = await launchBrowser();
  page = await open(SIZES[0]);
});

after(async () => {
  await browser?.close();
  await server?.stop();
  await cameras?.stop();
  folder?.remove();
});

const add = (name, url) => server.post('/api/v1/cameras', { name, main_stream_url: url, segment_seconds: 4, record_audio: true });

async function fault(camera, name, more) {
  const answer = await fetch(`${truth}/fault/${camera}?${new URLSearchParams({ name, ...more })}`, { method: 'POST' });
  assert.ok(answer.ok);
}

/** Seconds that are recorded of a camera. */
async function footage(id) {
  const segments = await server.get(`/api/v1/cameras/${id}/segments`);
  return segments.reduce((sum, segment) => sum + segment.duration_s, 0);
}

async function open(viewport, touch = false) {
  const context = await browser.newContext({ viewport, hasTouch: touch, acceptDownloads: true, timezoneId: 'Asia/Kolkata' });
  const opened = await context.newPage();
  opened.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
  opened.on('pageerror', (error) => complaints.push(String(error)));
  opened.on('response', (answer) => answer.status() >= 400 && complaints.push(`${answer.status()} ${answer.url()}`));
  await opened.goto(server.url);
  await playing(opened);
  return opened;
}

const row = (id) => page.locator(`.camera[data-camera=${id}]`);

/** Waits until the player stands still at a picture. */
async function settled() {
  await page.waitForFunction(() => {
    const video = document.querySelector('video.front');
    return document.querySelector('#screen[data-phase=ready]') && video?.readyState >= 2 && !video.seeking;
  });
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
}

/** Number of the picture on screen. */
async function number() {
  await settled();
  const levels = await page.evaluate(() => {
    const video = document.querySelector('video.front');
    const side = video.videoWidth / 40;
    const canvas = new OffscreenCanvas(40, 1).getContext('2d');
    canvas.drawImage(video, 0, side * 1.3, video.videoWidth, side * 0.4, 0, 0, 40, 1);
    const { data } = canvas.getImageData(0, 0, 40, 1);
    return Array.from({ length: 40 }, (_, block) => data[4 * block]);
  });
  return numberOf(levels);
}

/** Camera and instant that the address names, which is where the player stands. */
async function place() {
  await settled();
  const [, id, at] = /#([^@]+)@(.*)$/.exec(page.url()) ?? [];
  return { id, instant: Date.parse(at) };
}

/** Checks that the picture on screen was sent when the player says it was. */
async function judgePicture(camera) {
  const { instant } = await place();
  const shown = await number();
  const sent = await (await fetch(`${truth}/sent/${camera}?n=${shown}&limit=50`)).json();
  const off = Math.min(...sent.map((picture) => Math.abs(picture.sent_at_us / 1000 - instant)));
  // A picture lasts 40 ms; a busy machine sends some late.
  assert.ok(off < 80, `picture ${shown} was sent ${off} ms off ${new Date(instant).toISOString()}`);
  return instant;
}

async function pause() {
  if ((await page.getAttribute('#play', 'aria-label')) === 'Pause') await page.keyboard.press('Space');
  await page.waitForFunction(() => document.querySelector('#play').ariaLabel === 'Play' && document.querySelector('video.front')?.paused);
}

test('cameras appear with state, facts and their footage', async () => {
  for (const [id, name] of [['front_gate', 'Front gate'], ['loading_bay', 'Loading bay']]) {
    await row(id).locator('.dot.recording').waitFor();
    assert.equal(await row(id).locator('.name').textContent(), name);
    assert.match(await row(id).locator('.facts').textContent(), /^H\.264 · 640 × 360 · [\d.]+ fps · \d+ kbit\/s$/);
    await row(id).locator('rect.recorded').first().waitFor({ state: 'attached' });
  }
  await page.getByText('2 of 2 recording').waitFor();
  // What the strip shows is what the coverage says.
  await row('loading_bay').locator('rect.missing').last().hover({ force: true });
  await page.locator('#tip', { hasText: 'missing' }).waitFor();
  const gaps = await server.get('/api/v1/cameras/loading_bay/gaps?tolerance_ms=500');
  assert.equal(await row('loading_bay').locator('rect.recorded').count(), gaps.gap_count + 1);
});

test('the first camera is live by itself, and says how and how old', async () => {
  await page.locator('#latest[aria-pressed=true]').waitFor();
  const first = await page.evaluate(() => document.querySelector('#clock-time').textContent);
  await page.waitForFunction((before) => document.querySelector('#clock-time').textContent.slice(0, 8) > before.slice(0, 8), first);
  assert.ok((await number()) >= 0);
  await page.locator('#screen-live', { hasText: 'Live' }).waitFor();
  const facts = page.locator('#screen-facts', { hasText: /^(WebRTC|WebSocket|HLS) · H\.264 · 640 × 360 · (≈ )?[\d.]+ s$/ });
  await facts.waitFor();
  assert.match(page.url(), /#front_gate$/);
});

test('to the past and back to now, with a picture all the time', async () => {
  await page.evaluate(() => {
    globalThis.blanks = 0;
    globalThis.watching = true;
    const look = () => {
      const video = [...document.querySelectorAll('video.front')].find((each) => each.readyState >= 2 || each.seeking);
      if (!video?.videoWidth) globalThis.blanks += 1;
      if (globalThis.watching) requestAnimationFrame(look);
    };
    look();
  });
  await page.keyboard.press('ArrowLeft');
  await page.locator('#screen[data-source=footage][data-phase=ready]').waitFor();
  assert.equal(await page.textContent('#screen-live'), '');
  assert.equal(await page.textContent('#screen-facts'), '');
  await pause();
  await judgePicture('cam1');
  await page.keyboard.press('l');
  await page.locator('#screen[data-source=live][data-phase=ready]').waitFor();
  await page.locator('#screen-live', { hasText: 'Live' }).waitFor();
  await playing(page);
  assert.equal(await page.evaluate(() => { globalThis.watching = false; return globalThis.blanks; }), 0);
});

test('a click on the strip goes to that instant of that camera', async () => {
  const strip = row('loading_bay').locator('.strip');
  const box = await row('loading_bay').locator('rect.recorded').first().boundingBox();
  await page.mouse.click(box.x + box.width * 0.6, box.y + box.height / 2);
  await page.waitForFunction(() => location.hash.startsWith('#loading_bay@'));
  await pause();
  const { id } = await place();
  assert.equal(id, 'loading_bay');
  await judgePicture('cam2');
  assert.match(await strip.getAttribute('aria-valuetext'), /recorded$/);
  assert.equal(await page.textContent('#screen-camera'), 'Loading bay');
});

test('a typed time is gone to', async () => {
  const [segment] = await server.get('/api/v1/cameras/loading_bay/segments');
  // The field has whole seconds of the viewer's zone, five and a half hours ahead.
  const wanted = Math.ceil(Date.parse(segment.start_time) / 1000) * 1000 + 1000;
  await page.fill('#goto-time', new Date(wanted + 5.5 * 3600_000).toISOString().slice(0, 19));
  await page.click('#goto button');
  await page.waitForFunction((instant) => Math.abs(Date.parse(location.hash.split('@')[1]) - instant) < 2, wanted);
  assert.ok(Math.abs((await judgePicture('cam2')) - wanted) < 2);
});

test('keys: pictures one by one, ten seconds, speed, marks', async () => {
  const before = await number();
  for (const [key, expect] of [['.', before + 1], ['.', before + 2], [',', before + 1], [',', before]]) {
    const last = await number();
    await page.keyboard.press(key);
    await until(async () => (await number()) !== last, `another picture than ${last}`);
    assert.equal(await number(), expect % 300, `${key} after ${last}`);
  }
  await judgePicture('cam2');
  await page.keyboard.press('+');
  assert.equal(await page.inputValue('#speed'), '2');
  await page.keyboard.press('-');
  assert.equal(await page.inputValue('#speed'), '1');
  const { instant } = await place();
  await page.keyboard.press('ArrowRight');
  // Ten seconds on, or behind the gap that lies there.
  await page.waitForFunction((least) => Date.parse(location.hash.split('@')[1]) >= least, instant + 9_900);
  await judgePicture('cam2');
  // Everything that can be done is reached by the tab key, and seen to be.
  await page.locator('.brand').focus();
  const reached = [];
  for (let step = 0; step < 40; step += 1) {
    await page.keyboard.press('Tab');
    const focused = await page.evaluate(() => {
      const element = document.activeElement;
      const { outlineStyle } = getComputedStyle(element);
      return { id: element.id || element.closest('[data-camera]')?.dataset.camera || element.dataset.minutes || element.tagName, outlineStyle };
    });
    if (focused.id === 'BODY') break;
    // Further parts of a field show it themselves.
    if (!reached.includes(focused.id)) assert.notEqual(focused.outlineStyle, 'none', `${focused.id} shows no focus`);
    reached.push(focused.id);
  }
  for (const id of ['play', 'frame-on', 'speed', 'latest', 'goto-time', '15', 'front_gate', 'loading_bay', 'mark-in', 'mark-out']) {
    assert.ok(reached.includes(id), `${id} is not among ${reached}`);
  }
});

test('a marked range is exported and downloaded', async () => {
  const segments = await server.get('/api/v1/cameras/front_gate/segments');
  const start = Date.parse(segments[0].start_time);
  await row('front_gate').locator('.head').click();
  for (const [key, instant] of [['i', start + 1_500], ['o', start + 5_020]]) {
    await page.evaluate((hash) => { location.hash = hash; }, `#front_gate@${new Date(instant).toISOString()}`);
    await pause();
    await page.waitForFunction((wanted) => Math.abs(Date.parse(location.hash.split('@')[1]) - wanted) < 2, instant);
    await settled();
    await page.keyboard.press(key);
  }
  await page.getByText('3.5 s', { exact: true }).waitFor();
  await page.click('#export-go');
  const card = page.locator('#clips .clip').first();
  await card.waitFor();
  const [download] = await Promise.all([page.waitForEvent('download'), card.getByText('Download').click()]);
  const file = join(folder.path, 'download.mp4');
  await download.saveAs(file);
  assert.match(download.suggestedFilename(), /^Front_gate_[-_0-9]{19}\.mp4$/);
  const { status, pictures, troubles } = await presented(file, ['-xerror']);
  assert.deepEqual([status, troubles], [0, []]);
  assert.ok(Math.abs(pictures.length - 88) <= 1, `${pictures.length} pictures`);
  pictures.forEach((picture, index) => assert.equal(picture.number, (pictures[0].number + index) % 300));
});

test('a camera that was added elsewhere appears, and its state follows the camera', async () => {
  await add('Side door', cameras.cameras[2].url);
  await row('side_door').locator('.dot.recording').waitFor();
  await page.getByText('3 of 3 recording').waitFor();
  await fault('cam3', 'refuse', {});
  await row('side_door').locator('.facts.bad').waitFor();
  await row('side_door').locator('.head').click();
  await page.locator('#about-state.offline').waitFor();
  // The reason in words, in the list and beside the player.
  assert.match(await row('side_door').locator('.facts').textContent(), /^Offline: (the camera ended the session|connection refused)$/);
  assert.match(await page.textContent('#about-trouble'), /ended the session|refused/);
  await page.getByText('2 of 3 recording').waitFor();
  await fault('cam3', 'none', {});
  await row('side_door').locator('.dot.recording').waitFor();
});

for (const size of SIZES) {
  test(`nothing is out of reach at ${size.width} by ${size.height}`, async () => {
    const small = await open(size, size.width < 500);
    const found = await small.evaluate(() => {
      const visible = [...document.querySelectorAll('main button, main input, main select, main a, header button')].filter((each) => each.checkVisibility());
      const out = visible.filter((each) => {
        const box = each.getBoundingClientRect();
        return box.left < 0 || box.right > innerWidth || box.width < 24 || box.height < 23.5;
      });
      const { scrollWidth } = document.scrollingElement;
      return { scrollWidth, width: innerWidth, out: out.map((each) => each.id || each.className), count: visible.length };
    });
    assert.equal(found.scrollWidth, found.width, 'nothing to scroll to the side for');
    assert.deepEqual(found.out, []);
    assert.ok(found.count > 20);
    await small.context().close();
  });
}

test('the page has complained of nothing', () => {
  assert.deepEqual(complaints, []);
});
