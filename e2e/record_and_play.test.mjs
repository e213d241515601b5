// One camera from RTSP to the screen: recorded, listed while it is written, played by Chromium, exported.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Server, freePort, launchBrowser, makeClip, run, scratch, startCameras, until } from './support.mjs';

const hlsScript = readFileSync(new URL('./node_modules/hls.js/dist/hls.min.js', import.meta.url), 'utf8');

let folder, cameras, server, browser;

before(async () => {
  folder = scratch();
  const clip = join(folder.path, 'clip.mp4');
  makeClip(clip);
  const port = await freePort();
  cameras = await startCameras(['--cameras', '1', '--port', String(port), '--video', clip]);
  server = await new Server(join(folder.path, 'data')).start();
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
  await cameras?.stop();
  folder?.remove();
});

// A page of the server's own origin, so that its rules for foreign pages do not matter here.
async function openPlayer(page, setup, argument) {
  await page.goto(server.url);
  await page.evaluate(() => {
    document.body.replaceChildren(Object.assign(document.createElement('video'), { muted: true }));
  });
  await page.evaluate(setup, argument);
}

// Waits until the picture has advanced past `seconds` and tells what is on screen.
function watch(page, seconds) {
  return page.evaluate(async (wanted) => {
    const video = document.querySelector('video');
    const deadline = performance.now() + 20_000;
    while (video.currentTime < wanted && performance.now() < deadline) {
      if (video.error) throw new Error(`media error ${video.error.code}: ${video.error.message}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const quality = video.getVideoPlaybackQuality();
    return { time: video.currentTime, duration: video.duration, width: video.videoWidth, decoded: quality.totalVideoFrames };
  }, seconds);
}

test('a camera is recorded, listed, played in Chromium and exported', async () => {
  const camera = await server.post('/api/v1/cameras', {
    name: 'Front Door',
    main_stream_url: cameras.cameras[0].url,
    segment_seconds: 4,
  });
  assert.equal(camera.id, 'front_door');

  const open = await until(async () => {
    const segments = await server.get('/api/v1/cameras/front_door/segments');
    return segments.find((segment) => segment.open);
  }, 'a segment is listed while it is written');
  assert.equal(open.codec, 'h264');
  assert.equal(open.width, 640);

  await until(async () => {
    const segments = await server.get('/api/v1/cameras/front_door/segments');
    return segments.filter((segment) => !segment.open).length >= 2;
  }, 'two segments are complete');
  const health = await server.get('/api/v1/cameras/front_door/health');
  assert.equal(health.state, 'recording');

  const segments = await server.get('/api/v1/cameras/front_door/segments');
  const from = new Date(Date.parse(segments[0].start_time) + 1_500).toISOString();
  const to = new Date(Date.parse(segments[0].start_time) + 6_500).toISOString();

  const session = await server.post('/api/v1/cameras/front_door/playback/sessions', { from, to });
  assert.deepEqual(session.gaps, []);
  // The player's script is the test's own, not the page's: the page's content security policy would refuse it.
  const page = await (await browser.newContext({ bypassCSP: true })).newPage();
  await openPlayer(page, async ([script, url]) => {
    (0, eval)(script);
    const video = document.querySelector('video');
    const hls = new Hls();
    window.fatal = null;
    hls.on(Hls.Events.ERROR, (_event, data) => { if (data.fatal) window.fatal = data.details; });
    hls.loadSource(url);
    hls.attachMedia(video);
    await video.play();
  }, [hlsScript, session.playlist_url]);
  const hls = await watch(page, 3);
  assert.equal(await page.evaluate(() => window.fatal), null);
  assert.ok(hls.time >= 3 && hls.decoded > 25 && hls.width === 640, JSON.stringify(hls));

  const video = `/api/v1/cameras/front_door/video.mp4?from=${from}&to=${to}`;
  await openPlayer(page, async (url) => {
    const element = document.querySelector('video');
    element.src = url;
    await element.play();
  }, video);
  const mp4 = await watch(page, 3);
  assert.ok(mp4.time >= 3 && mp4.decoded > 50, JSON.stringify(mp4));
  assert.ok(Math.abs(mp4.duration - 5) < 0.05, `exact length: ${mp4.duration}`);

  const clip = await server.post('/api/v1/cameras/front_door/clip', { from, to });
  assert.deepEqual(clip.gaps, []);
  const file = join(folder.path, 'export.mp4');
  const fetched = await fetch(server.url + clip.url);
  assert.equal(Number(fetched.headers.get('content-length')), clip.size_bytes);
  const { writeFileSync } = await import('node:fs');
  writeFileSync(file, Buffer.from(await fetched.arrayBuffer()));
  const hash = run('sha256sum', [file]).out.split(' ')[0];
  assert.equal(hash, clip.sha256);
  // Time is counted in the file's own ticks. ffmpeg would count it in nominal picture intervals, in which two pictures share
  // a tick while a stream's clock is being slewed.
  const judged = run('ffmpeg', ['-v', 'error', '-xerror', '-i', file, '-enc_time_base:v', '1:90000', '-f', 'null', '-']);
  const steps = run('ffprobe', ['-v', 'error', '-select_streams', 'v', '-show_entries', 'packet=pts_time', '-of', 'csv=p=0', file]);
  assert.deepEqual([judged.status, judged.err], [0, ''], steps.out);
  const pictures = run('ffprobe', ['-v', 'error', '-count_frames', '-select_streams', 'v', '-show_entries', 'stream=nb_read_frames', '-of', 'csv=p=0', file]);
  assert.ok(Math.abs(Number(pictures.out.trim()) - 125) <= 1, pictures.out);

  // The same window as files on disk see it: every recorded file opens elsewhere with its true length.
  for (const segment of segments.filter((s) => !s.open)) {
    const path = join(folder.path, 'data', 'recordings', segment.path);
    const probed = run('ffprobe', ['-v', 'error', '-show_entries', 'format=duration', '-of', 'csv=p=0', path]);
    assert.ok(Math.abs(Number(probed.out.trim()) - segment.duration_s) < 0.05, `${probed.out} ${segment.duration_s}`);
  }
});

test('footage survives kill -9 and the index agrees with the disk again', async () => {
  const before = await server.get('/api/v1/cameras/front_door/segments');
  await server.kill();
  await server.start();
  const after = await server.get('/api/v1/cameras/front_door/segments');
  for (const segment of before) {
    const now = after.find((s) => s.id === segment.id);
    assert.ok(now, `${segment.path} is still listed`);
    assert.ok(Date.parse(now.end_time) >= Date.parse(segment.end_time) - 2_000, 'nothing but the newest fragment is gone');
    const path = join(folder.path, 'data', 'recordings', now.path);
    if (now.open) continue;
    const judged = run('ffmpeg', ['-v', 'error', '-xerror', '-i', path, '-f', 'null', '-']);
    assert.deepEqual([judged.status, judged.err], [0, ''], segment.path);
  }
  await until(async () => {
    const segments = await server.get('/api/v1/cameras/front_door/segments');
    return segments.at(-1).open && Date.parse(segments.at(-1).start_time) > Date.parse(before.at(-1).end_time);
  }, 'recording goes on');
  const ledger = await server.get('/api/v1/cameras/front_door/coverage');
  const missing = Object.values(ledger.missing).reduce((sum, seconds) => sum + seconds, 0);
  assert.ok(Math.abs(ledger.recorded_seconds + ledger.not_wanted_seconds + missing - ledger.window_seconds) < 1e-6);
  assert.ok(ledger.missing_seconds < 15, `at most a few seconds: ${JSON.stringify(ledger.missing)}`);
});
