// Measures live view in headless Chromium through Heldar's own player: how long a viewer waits for its first picture, and
// how old pictures are when they are on screen. The test camera burns a number into each picture and tells when it sent it.
//
//   npm run latency [-- --runs 15 --seconds 20 --recorded 0 --transports whep,ws,hls]
//
// Prints one line of JSON for each transport. A picture's age is counted from the moment the camera began to send it: `age_ms` to
// the moment at which the browser handed it to its compositor, `read_ms` until its number was read, which costs some time.
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
    const warm = [];
    for (let at = 0; at < runs; at += 1) warm.push(await firstPicture('warm', transport, true));
    const cold = [];
    for (let at = 0; at < Math.min(runs, 5); at += 1) cold.push(await firstPicture('cold', transport, false));
    console.log(JSON.stringify({ transport, first_ms: summary(warm), first_cold_ms: summary(cold), ...(await ages(transport)) }));
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
      const canvas = new OffscreenCanvas(40, 1).getContext('2d', { willReadFrequently: true });
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

/** Milliseconds from the call to the first picture on screen. */
async function firstPicture(camera, transport, isWarm) {
  const page = await open(camera, transport);
  const began = await page.evaluate(() => {
    const now = performance.timeOrigin + performance.now();
    void window.player.play();
    return now;
  });
  await page.waitForFunction(() => window.seen.length > 0, null, { polling: 20, timeout: 20_000 });
  const [[at]] = await page.evaluate(() => window.seen);
  await page.context().close();
  if (!isWarm) {
    // Asking where to watch would keep the stream going.
    const isClosed = async () => (await server.get(`/api/v1/cameras/${camera}/health`)).session === 'idle';
    await until(isClosed, 'the stream is closed', 60_000);
  }
  return at - began;
}

/** Milliseconds that pictures are old when they are on screen, over some seconds of steady watching. */
async function ages(transport) {
  const page = await open('warm', transport);
  await page.evaluate(() => void window.player.play());
  await page.waitForTimeout(4000);
  await page.evaluate(() => void (window.seen.length = 0));
  await page.waitForTimeout(seconds * 1000);
  const seen = await page.evaluate(() => window.seen);
  const told = await page.evaluate(() => window.player.latency);
  await page.context().close();
  const sent = await (await fetch(`http://127.0.0.1:${http}/sent/cam1?limit=1000`)).json();
  const times = new Map();
  // Newest first; the numbers begin anew with the clip, so the last time before a picture was seen is the one.
  for (const { n, sent_at_us: at } of sent) times.set(n, [...(times.get(n) ?? []), at / 1000]);
  const since = ([read, number, presented]) => {
    const sent = (times.get(number) ?? []).find((time) => time <= read);
    return [presented - sent, read - sent];
  };
  const found = seen.map(since).filter(([age]) => Number.isFinite(age));
  return {
    age_ms: summary(found.map(([age]) => age)),
    read_ms: summary(found.map(([, age]) => age)),
    of_pictures: seconds * 25,
    told_by_player_ms: Math.round(told * 1000),
  };
}

function summary(times) {
  const sorted = [...times].sort((one, other) => one - other);
  const at = (share) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN);
  return { n: sorted.length, p50: at(0.5), p95: at(0.95), max: at(1) };
}
