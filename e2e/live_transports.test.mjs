// Live view as others read it: aiortc over WHEP, ffmpeg and hls.js the playlist, ffprobe what the WebSocket sends; and the
// end of a view when its right ends.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { judgePlaylist } from './live/playlist.mjs';
import { Sockets } from './live/sockets.mjs';
import { add, begin, end, fault, liveview, rises, sessions, world } from './live/world.mjs';
import { collect, packets, presented } from './strip.mjs';
import { launchBrowser, until } from './support.mjs';

const binary = process.env.E2E_BINARY ?? new URL('../target/debug/heldar', import.meta.url).pathname;
/** Installed by scripts/setup.sh beside what is built. */
const python = join(dirname(binary), '../aiortc/bin/python');
const client = new URL('./live/whep_client.py', import.meta.url).pathname;

let browser, sockets;

before(async () => {
  await begin();
  browser = await launchBrowser();
  sockets = await Sockets.open(browser, world.server);
});

after(async () => {
  await browser?.close();
  await end();
});

/** What aiortc sees of a camera until it has so many pictures. */
async function whep(id, pictures, stream) {
  const { whep_url: url } = await liveview(id, stream);
  const { status, out, err } = await collect(python, [client, url, `${pictures}`]);
  assert.equal(status, 0, err.toString());
  return JSON.parse(out);
}

const needsAiortc = { skip: existsSync(python) ? false : 'aiortc is not installed: scripts/setup.sh test' };

test('aiortc sees every picture and hears the sound', needsAiortc, async () => {
  const seen = await whep('pcmu', 150);
  assert.equal(seen.status, 201, seen.error);
  assert.equal(seen.error, undefined);
  assert.match(seen.etag, /^"[0-9a-f]{32}"$/);
  assert.ok(seen.codecs.includes('H264/90000') && seen.codecs.includes('PCMU/8000'), `${seen.codecs}`);
  assert.ok(rises(seen.numbers), `${seen.numbers}`);
  assert.ok(seen.sounds > 100, `${seen.sounds} frames of sound`);
  assert.deepEqual([seen.deleted, seen.deleted_again], [200, 404]);
  await until(async () => (await sessions('pcmu')).length === 0, 'the session is gone');
});

test('a viewer that cannot play the pictures is told what the camera sends', needsAiortc, async () => {
  for (const [id, words] of [['hevc', /H\.265/], ['reordered', /B-frames/]]) {
    const refused = await whep(id, 1);
    assert.equal(refused.status, 406, refused.error);
    const { code, error } = JSON.parse(refused.error);
    assert.equal(code, 'codec_not_playable');
    assert.match(error, words);
  }
  assert.equal((await liveview('reordered')).not_for_webrtc, 'b_frames');
  assert.equal((await liveview('hevc')).not_for_webrtc, undefined);
});

test('the other stream of the camera is sent to one that cannot play the wanted one', needsAiortc, async () => {
  const seen = await whep('both', 30, 'main');
  assert.equal(seen.status, 201, seen.error);
  assert.ok(rises(seen.numbers), `${seen.numbers}`);
});

test('ffmpeg reads the live playlist from any player without low latency', async () => {
  const { hls_url: url } = await liveview('aac');
  const { pictures, troubles } = await presented(url, ['-live_start_index', '-1', '-t', '5']);
  // ffmpeg reads the init segment anew with each load of the playlist, and says so.
  assert.deepEqual(troubles.filter((line) => !line.includes('duplicated MOOV Atom')), []);
  assert.ok(pictures.length > 100, `${pictures.length} pictures`);
  assert.ok(rises(pictures.map(({ number }) => number)), JSON.stringify(pictures));
});

test('the live playlist keeps the rules of low-latency HLS', async () => {
  await judgePlaylist((await liveview('plain', 'main')).hls_url, 12);
});

test('the list of both streams leads to both', async () => {
  const { hls_url: url } = await liveview('plain');
  const master = url.replace('index.m3u8', 'master.m3u8');
  const text = await (await fetch(master)).text();
  const lines = text.split('\n');
  const uris = lines.filter((line) => line && !line.startsWith('#'));
  assert.equal(uris.length, 2, text);
  for (const uri of uris) assert.equal((await fetch(new URL(uri, master))).status, 200, uri);
  const sizes = lines.filter((line) => line.startsWith('#EXT-X-STREAM-INF')).map((line) => /RESOLUTION=(\d+)x/.exec(line)[1]);
  assert.notEqual(sizes[0], sizes[1]);
});

test('hls.js plays close to the edge', async () => {
  const { hls_url: url } = await liveview('plain', 'main');
  const page = await sockets.screens();
  const told = await page.evaluate(async (url) => {
    window.shown = new Screen();
    await shown.playlist(url, { lowLatencyMode: true, maxBufferLength: 10, maxMaxBufferLength: 10 });
    await shown.video.play();
    await new Promise((resolve) => setTimeout(resolve, 6000));
    return { latency: shown.hls.latency, ...shown.told() };
  }, url);
  assert.deepEqual(told.errors, []);
  assert.ok(told.frames.length > 75, `${told.frames.length} pictures`);
  const numbers = told.frames.map(([, number]) => number).filter((number) => number >= 0);
  assert.ok(numbers.at(-1) !== numbers[0] && numbers.length > 60, `${numbers}`);
  assert.ok(told.latency < 3, `${told.latency} s behind`);
  await page.close();
});

test('ffprobe and ffmpeg read what the WebSocket sends', async () => {
  const { ws_url: url } = await liveview('aac');
  const { texts, bytes } = await sockets.take(url, 4);
  const [init] = texts;
  assert.equal(init.type, 'init');
  assert.match(init.mime, /^video\/mp4; codecs="avc1\.[0-9a-f]{6},mp4a\.40\.2"$/);
  assert.ok(Math.abs(Date.parse(init.started_at) - Date.now()) < 60_000, init.started_at);
  const file = join(world.folder.path, 'socket.mp4');
  writeFileSync(file, bytes);
  const { pictures, troubles } = await presented(file);
  assert.deepEqual(troubles, []);
  assert.ok(pictures.length > 75 && rises(pictures.map(({ number }) => number)), JSON.stringify(pictures));
  const sound = await packets(file, 'a');
  assert.deepEqual(sound.troubles, []);
  assert.ok(sound.packets.at(-1).pts - sound.packets[0].pts > 3, 'three seconds of sound');
});

test('sound that stalls is filled, and given up after ten seconds, without a hole in the pictures', async () => {
  const { ws_url: url } = await liveview('mute');
  // Sound is away for 15 s out of 25: an init with it, and one without.
  const seen = await sockets.take(url, 40);
  const inits = seen.texts.filter(({ type }) => type === 'init').map(({ codec_string: codecs }) => codecs.split(',').length);
  assert.ok(inits.includes(2) && inits.includes(1), JSON.stringify(seen.texts));
  assert.ok(seen.texts.every(({ type }) => type === 'init'), JSON.stringify(seen.texts));
  assert.ok(seen.longest < 1000, `${seen.longest} ms without a picture`);
});

test('a camera that goes and comes back is told, and watching goes on', async () => {
  const { ws_url: url } = await liveview('pcmu');
  const watching = sockets.take(url, 14);
  await until(async () => (await sessions('pcmu')).some(({ transport, bytes_sent: sent }) => transport === 'ws' && sent > 0), 'the viewer is fed');
  await fault('pcmu', 'refuse', { for: 2 });
  const { texts, pictures, longest } = await watching;
  const types = texts.map(({ type }) => type);
  assert.deepEqual(types.filter((type) => type !== 'init'), ['stalled', 'resumed'], JSON.stringify(texts));
  assert.ok(longest > 1500 && pictures > 100, `${longest} ms, ${pictures} pictures`);
});

test('new parameters are announced with a new init segment', async () => {
  const { ws_url: url } = await liveview('aac');
  const watching = sockets.take(url, 8);
  await until(async () => (await sessions('aac')).some(({ bytes_sent: sent }) => sent > 0), 'the viewer is fed');
  await fault('aac', 'param_change');
  const { texts } = await watching;
  const widths = texts.filter(({ type }) => type === 'init').map(({ width }) => width);
  assert.equal(widths.length, 2, JSON.stringify(texts));
  assert.notEqual(widths[0], widths[1]);
});

/** Each way in which a right ends, as a function of the camera, and the close code of its WebSocket. */
const endings = {
  'an administrator ends the session': async (id) => {
    for (const session of await sessions(id)) await world.server.call('DELETE', `/api/v1/live/sessions/${session.id}`);
  },
  'the camera is switched off': (id) => world.server.call('PATCH', `/api/v1/cameras/${id}`, { enabled: false }),
  'the camera is removed': (id) => world.server.call('DELETE', `/api/v1/cameras/${id}`),
};

let count = 0;
for (const [how, cut] of Object.entries(endings)) {
  test(`all viewers are cut off within two seconds when ${how}`, async () => {
    count += 1;
    const { id } = await add(`Short ${count}`, world.scene.cameras[0].url);
    const urls = await liveview(id);
    const playlist = await fetch(urls.hls_url);
    assert.equal(playlist.status, 200);
    const peer = await sockets.whep(urls.whep_url);
    const socket = sockets.take(urls.ws_url, 30);
    await until(async () => (await sessions(id)).filter(({ bytes_sent: sent }) => sent > 0).length === 3, 'all three are fed');
    const at = Date.now();
    await cut(id);
    const { closed, texts } = await socket;
    assert.equal(closed, 4403);
    assert.equal(texts.at(-1).type, 'bye');
    await peer.ended();
    const late = Date.now() - at;
    assert.ok(late < 2000, `${late} ms`);
    assert.ok([403, 404, 400].includes((await fetch(urls.hls_url)).status));
    assert.equal((await fetch(peer.resource, { method: 'DELETE' })).status, 404);
    await until(async () => (await sessions(id)).length === 0, 'none is listed', 2000);
  });
}

test('what a hostile client says over a WebSocket costs nobody else a picture', async () => {
  const { ws_url: url } = await liveview('plain', 'main');
  const watching = sockets.take(url, 8);
  await until(async () => (await sessions('plain')).some(({ bytes_sent: sent }) => sent > 0), 'the viewer is fed');
  const { pathname, search, hostname, port } = new URL(url);
  const frames = [
    [0x81, 0x05, 1, 2, 3, 4, 5], // not masked
    [0x8f, 0x80, 0, 0, 0, 0], // a kind that does not exist
    [0xf1, 0x80, 0, 0, 0, 0], // reserved bits
    [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], // longer than any memory
    [0x82, 0xfe, 0x10, 0x00, 0, 0, 0, 0, ...Array(4096).fill(65)], // more than a viewer has to say
    [0x89, 0xfe, 0x00, 0x80, 0, 0, 0, 0, ...Array(128).fill(65)], // a ping that is too long
    [0x88, 0x81, 0, 0, 0, 0, 1], // a close that is too short
    [0x81, 0x82, 0, 0, 0, 0, 0xff, 0xff], // a text that is none
    Array.from({ length: 600 }, (_, at) => (at * 7919 + 13) & 255),
  ];
  for (const frame of frames) {
    const socket = connect(Number(port), hostname);
    const closed = once(socket, 'close');
    socket.resume();
    socket.on('error', () => {});
    socket.write(
      `GET ${pathname}${search} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
    );
    socket.write(Buffer.from(frame));
    const late = new Promise((_, reject) => setTimeout(reject, 5000, new Error(`still open after ${frame.slice(0, 4)}`)).unref());
    await Promise.race([closed, late]);
  }
  const { pictures, longest, texts } = await watching;
  assert.ok(pictures > 100 && longest < 1000, `${pictures} pictures, ${longest} ms`);
  assert.deepEqual(texts.map(({ type }) => type), ['init']);
});

test('a request that waits for the next part ends with the right to watch', async () => {
  const { id } = await add('Waiting', world.cameras.cameras[0].url);
  const { hls_url: url } = await liveview(id);
  const text = await (await fetch(url)).text();
  const hint = /PRELOAD-HINT:TYPE=PART,URI="([^"]+)"/.exec(text)[1];
  await fault('pcmu', 'stall', { for: 6 });
  await new Promise((resolve) => setTimeout(resolve, 500));
  // The part that was hinted at may be there already; the one after it is not.
  const [, segment, part] = /^(\d+)\.(\d+)\.m4s/.exec(hint);
  const waiting = [0, 1, 2].map((more) => fetch(new URL(hint.replace(`${segment}.${part}.`, `${segment}.${Number(part) + more}.`), url)));
  await until(async () => (await sessions(id)).length === 1, 'the viewer is listed');
  const at = Date.now();
  for (const session of await sessions(id)) await world.server.call('DELETE', `/api/v1/live/sessions/${session.id}`);
  const statuses = (await Promise.all(waiting)).map(({ status }) => status);
  assert.ok(Date.now() - at < 2000, `${Date.now() - at} ms`);
  assert.ok(statuses.includes(403), `${statuses}`);
  assert.equal((await fetch(url)).status, 403);
});

test('a viewer that takes nothing is moved ahead, and gets nothing that is old after its right has ended', async () => {
  const { id } = await add('Stuck', world.scene.cameras[0].url);
  const { ws_url: url } = await liveview(id, 'main');
  const { pathname, search, hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.pause();
  socket.on('error', () => {});
  socket.write(
    `GET ${pathname}${search} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
  );
  await until(async () => (await sessions(id)).some(({ bytes_sent: sent }) => sent > 0), 'the viewer is fed');
  await new Promise((resolve) => setTimeout(resolve, 12_000));
  const [{ bytes_sent: sent }] = await sessions(id);
  // This side's own buffer takes some megabytes; the server holds little beyond that.
  await world.server.call('PATCH', `/api/v1/cameras/${id}`, { enabled: false });
  await until(async () => (await sessions(id)).length === 0, 'it is cut off', 3000);
  let rest = 0;
  const closed = once(socket, 'close');
  socket.on('data', (bytes) => (rest += bytes.length));
  socket.resume();
  await closed;
  assert.ok(rest < sent + 400_000, `${rest} bytes of ${sent}`);
});

test('a token opens its own path until it expires, and nothing else', async () => {
  const [one, other] = [await liveview('plain', 'main'), await liveview('aac')];
  const asked = async (url) => (await fetch(url)).status;
  assert.equal(await asked(other.hls_url.replace(other.token, one.token)), 401);
  // Not even where its viewer is known by the stream that both names stand for.
  const whole = await liveview('aac', 'main');
  assert.equal(await asked(other.hls_url), 200);
  assert.equal(await asked(whole.hls_url.replace(whole.token, other.token)), 401);
  assert.equal(await asked(one.hls_url.replace(one.token, `${one.token.slice(0, -2)}AA`)), 401);
  const said = one.token.split('.');
  said[1] = `${Number(said[1]) + 3600}`;
  assert.equal(await asked(one.hls_url.replace(one.token, said.join('.'))), 401);
  assert.equal(await asked(one.hls_url), 200);
});

test('the metrics count viewers, their first pictures and their ends', async () => {
  const metrics = await (await fetch(`${world.server.url}/metrics`)).text();
  for (const name of ['heldar_live_viewers', 'heldar_live_first_picture_seconds_bucket', 'heldar_live_closed_total']) {
    assert.match(metrics, new RegExp(`^${name}\\{`, 'm'));
  }
});

test('a viewer with room for the large stream keeps it', async () => {
  const { whep_url: url } = await liveview('plain', 'main');
  const peer = await sockets.whep(url);
  const sizes = new Set();
  for (let second = 0; second < 15; second += 1) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    sizes.add((await peer.stats()).frameWidth);
  }
  const { framesDecoded, framesDropped } = await peer.stats();
  sizes.delete(undefined);
  assert.deepEqual([...sizes], [world.scene.cameras[0].width]);
  assert.ok(framesDecoded > 300, `${framesDecoded} decoded, ${framesDropped} dropped`);
  await fetch(peer.resource, { method: 'DELETE' });
  await peer.ended();
});

test('a playlist goes on with new numbers after the server was started anew', async () => {
  const { hls_url: url } = await liveview('plain', 'main');
  const numbers = (text) => [...text.matchAll(/^(\d+)\.m4s/gm)].map(([, number]) => Number(number));
  const before = numbers(await (await fetch(url)).text());
  await world.server.kill();
  await world.server.start();
  const answer = await fetch(`${url}&_HLS_msn=${before.at(-1) + 1}&_HLS_part=0`);
  assert.equal(answer.status, 200);
  const after = numbers(await answer.text());
  assert.ok(after.every((number) => number > before.at(-1)), `${before} ${after}`);
});

test('a server that stops takes leave of its viewers and waits for none', async () => {
  const { ws_url: ws, whep_url: whep } = await liveview('plain', 'main');
  const socket = sockets.take(ws, 20);
  const peer = await sockets.whep(whep);
  await until(async () => (await sessions('plain')).filter(({ bytes_sent: sent }) => sent > 0).length >= 2, 'both are fed');
  const at = Date.now();
  await world.server.stop();
  const took = Date.now() - at;
  const { closed, texts } = await socket;
  assert.deepEqual([closed, texts.at(-1).type, texts.at(-1).reason], [1001, 'bye', 'server_stopped']);
  await peer.ended();
  assert.ok(took < 3000, `${took} ms`);
});
