// Measures live view in headless Chromium through Heldar's own player: how long a viewer waits for its first picture, and
// how old pictures are when they are on screen. The test camera burns a number into each picture and tells when it sent it.
//
//   npm run latency [-- --runs 15 --seconds 20 --recorded 0 --transports whep,ws,hls]
//
// Prints one line of JSON for each transport. `first_ms` is until a picture is shown, `present_ms` until one is that is less than
// a second old. A picture's age is counted from the moment the camera began to send it: `age_ms` to the moment at which the
// browser handed it to its compositor, `read_ms` until its number was read, which costs some time.
import { parseArgs } from 'node:util';
import { join } from 'node:path';
import { Server, freePort, launchBrowser, scratch, startCameras, until } from './support.mjs';
import { numberOf } from './strip.mjs';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '15' },
    seconds: { type: 'string', default: '20' },
    recorded: { type: 'string', default: '0' },
    transports: { type: 'string', default: 'whep,ws,hls' },
  },
});
const [runs, seconds, recorded] = [values.runs, values.seconds, values.recorded].map(Number);
const TRANSPORTS = values.transports.split(',');
/** Length of a group of pictures of the test cameras. */
const GROUP_MS = 2000;

const folder = scratch();
const [port, http] = [await freePort(), await freePort()];
const cameras = await startCameras(['--cameras', `${2 + recorded}`, '--port', `${port}`, '--http-port', `${http}`]);
const server = await new Server(join(folder.path, 'data'), { HELDAR_LIVE_IDLE_CLOSE_SECS: '1' }).start();
const browser = await launchBrowser();
try {
  await run();
} finally {
  await browser.close();
  await server.stop();
  await cameras.stop();
  folder.remove();
}

async function run() {
  const add = (name, index, more) =>
    server.post('/api/v1/cameras', { name, main_stream_url: cameras.cameras[index].url, ...more });
  // Recorded, so that its session runs; and one that nobody records.
  await add('warm', 0);
  await add('cold', 1, { record_enabled: false });
  for (let index = 0; index < recorded; index += 1) await add(`Recorded ${index}`, 2 + index);
  const count = 1 + recorded;
  await until(async () => (await server.get('/api/v1/system')).cameras_recording >= count, 'all cameras are recorded', 60_000);
  for (const transport of TRANSPORTS) {
    const [warm, cold] = [[], []];
    for (let at = 0; at < runs; at += 1) warm.push(await begin('warm', transport, true));
    for (let at = 0; at < Math.min(runs, 10); at += 1) cold.push(await begin('cold', transport, false));
    const figures = {
      first_ms: summary(warm.map(({ first }) => first)),
      present_ms: summary(warm.map(({ present }) => present)),
      first_cold_ms: summary(cold.map(({ first }) => first)),
      ...(await ages(transport)),
    };
    console.log(JSON.stringify({ transport, ...figures }));
  }
}

/** A page of the server's own origin with a player on it. */
async function open(camera, transport) {
  const page = await (await browser.newContext({ bypassCSP: true, viewport: { width: 1280, height: 800 } })).newPage();
  await page.goto(`${server.url}/healthz`);
  await page.addScriptTag({ content: `window.numberOf = ${numberOf};` });
  await page.evaluate(
    async ([camera, transport]) => {
      document.body.innerHTML = '<div id="stage" style="position:relative;width:640px;height:360px"></div>';
      const { Player } = await import('/heldar-player.js');
      window.player = new Player(document.querySelector('#stage'), { camera, stream: 'main', transports: [transport] });
      window.seen = [];
      // Its picture is shown with the next frame of the page.
      window.player.addEventListener('picture', () => requestAnimationFrame(() => (window.shown ??= performance.timeOrigin + performance.now())));
      const canvas = new OffscreenCanvas(40, 1).getContext('2d', { willReadFrequently: true });
      // The first reading costs many times what later ones do.
      canvas.getImageData(0, 0, 40, 1);
      const note = (video, presented) => {
        const side = video.videoWidth / 40;
        canvas.imageSmoothingQuality = 'high';
        canvas.drawImage(video, 0, side * 1.3, video.videoWidth, side * 0.4, 0, 0, 40, 1);
        const { data } = canvas.getImageData(0, 0, 40, 1);
        const number = numberOf(Array.from({ length: 40 }, (_, block) => data[4 * block]));
        window.seen.push([performance.timeOrigin + performance.now(), number, performance.timeOrigin + presented]);
      };
      for (const video of document.querySelectorAll('video')) {
        const again = (_now, { presentationTime }) => {
          note(video, presentationTime);
          video.requestVideoFrameCallback(again);
        };
        video.requestVideoFrameCallback(again);
      }
    },
    [camera, transport],
  );
  return page;
}

/** Milliseconds from the call until the player shows its first picture, and until it shows one of the present. */
async function begin(camera, transport, isWarm) {
  const page = await open(camera, transport);
  // A stream that is not running begins somewhere in a group of pictures, each time elsewhere.
  await page.waitForTimeout(isWarm ? 500 : 500 + Math.random() * GROUP_MS);
  const began = await page.evaluate(() => {
    const now = performance.timeOrigin + performance.now();
    void window.player.play();
    return now;
  });
  await page.waitForFunction(() => window.shown, null, { polling: 20, timeout: 20_000 });
  const shown = await page.evaluate(() => window.shown);
  if (isWarm) await page.waitForTimeout(3000);
  const present = isWarm ? (await aged(page)).find(({ age, presented }) => age < 1000 && presented > shown)?.presented : NaN;
  await page.context().close();
  if (!isWarm) {
    // Asking where to watch would keep the stream going.
    const isClosed = async () => (await server.get(`/api/v1/cameras/${camera}/health`)).session === 'idle';
    await until(isClosed, 'the stream is closed', 60_000);
  }
  return { first: shown - began, present: present - began };
}

/** Milliseconds that pictures are old when they are on screen, over some seconds of steady watching. */
async function ages(transport) {
  const page = await open('warm', transport);
  await page.evaluate(() => void window.player.play());
  await page.waitForTimeout(4000);
  await page.evaluate(() => void (window.seen.length = 0));
  await page.waitForTimeout(seconds * 1000);
  const told = await page.evaluate(() => window.player.latency);
  const found = await aged(page);
  await page.context().close();
  return {
    age_ms: summary(found.map(({ age }) => age)),
    read_ms: summary(found.map(({ readAge }) => readAge)),
    of_pictures: seconds * 25,
    told_by_player_ms: Math.round(told * 1000),
  };
}

/** What a page has seen of the first camera, with ages. */
async function aged(page) {
  const seen = await page.evaluate(() => window.seen);
  const sent = await (await fetch(`http://127.0.0.1:${http}/sent/cam1?limit=1000`)).json();
  const times = new Map();
  // Newest first; the numbers begin anew with the clip, so the last time before a picture was seen is the one.
  for (const { n, sent_at_us: at } of sent) times.set(n, [...(times.get(n) ?? []), at / 1000]);
  const found = seen.map(([read, number, presented]) => {
    const sent = (times.get(number) ?? []).find((time) => time <= read);
    return { presented, age: presented - sent, readAge: read - sent };
  });
  return found.filter(({ age }) => Number.isFinite(age));
}

function summary(times) {
  const sorted = [...times].sort((one, other) => one - other);
  const at = (share) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN);
  return { n: sorted.length, p50: at(0.5), p95: at(0.95), max: at(1) };
}
