// Live view over a network that does not carry it: a viewer of its own network namespace, behind a link of few bits. Needs root
// and iproute2.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Server, browserPath, freePort, launchBrowser, scratch, startCameras, until } from './support.mjs';
import { Sockets } from './live/sockets.mjs';

const NAMES = { space: `heldar${process.pid}`, here: `hld${process.pid}h`, there: `hld${process.pid}t` };
/** A private network that nobody here is in. */
const NET = [1, 2, 3, 4].map((third) => `10.253.${third}`).find((net) => !Object.values(networkInterfaces()).flat().some(({ address }) => address.startsWith(`${net}.`)));
const ip = (...args) => execFileSync('ip', args, { stdio: 'pipe' });
const inside = (...args) => ip('netns', 'exec', NAMES.space, ...args);

/** Why there can be no network for it; false where there is one. */
const missing = (() => {
  const made = spawnSync('ip', ['netns', 'add', NAMES.space]);
  if (made.status !== 0) return `no network namespace: ${made.error?.message ?? made.stderr}`;
  const linked = spawnSync('ip', ['link', 'add', NAMES.here, 'type', 'veth', 'peer', 'name', NAMES.there, 'netns', NAMES.space]);
  return linked.status === 0 ? false : `no link into a network namespace: ${linked.stderr}`;
})();

let folder, cameras, server, browser;

before(async () => {
  if (missing) return;
  ip('addr', 'add', `${NET}.1/24`, 'dev', NAMES.here);
  ip('link', 'set', NAMES.here, 'up');
  inside('ip', 'addr', 'add', `${NET}.2/24`, 'dev', NAMES.there);
  for (const name of [NAMES.there, 'lo']) inside('ip', 'link', 'set', name, 'up');
  folder = scratch();
  cameras = await startCameras(['--cameras', '1', '--port', `${await freePort()}`]);
  const open = { HELDAR_API_HOST: '0.0.0.0', HELDAR_ALLOW_OPEN: 'true' };
  server = await new Server(join(folder.path, 'data'), open).start();
  const [{ url: main, sub_url: sub }] = cameras.cameras;
  await server.post('/api/v1/cameras', { name: 'gate', main_stream_url: main, sub_stream_url: sub });
  const wrapper = join(folder.path, 'browser');
  writeFileSync(wrapper, `#!/bin/sh\nexec ip netns exec ${NAMES.space} ${browserPath} "$@"\n`);
  chmodSync(wrapper, 0o755);
  browser = await launchBrowser(wrapper);
});

after(async () => {
  await browser?.close();
  await server?.stop();
  await cameras?.stop();
  folder?.remove();
  // The link goes with it.
  spawnSync('ip', ['netns', 'del', NAMES.space]);
});

/** From here on so many kilobits pass in a second, what exceeds them after 300 ms or never. */
const narrow = (kilobits) => execFileSync('tc', ['qdisc', 'replace', 'dev', NAMES.here, 'root', 'tbf', 'rate', `${kilobits}kbit`, 'burst', '16kb', 'latency', '300ms']);

test('a link too narrow for the large pictures gets the small ones, and goes on in time', { skip: missing }, async () => {
  const far = await Sockets.open(browser, { url: `http://${NET}.1:${server.port}` });
  const near = await launchBrowser();
  try {
    const page = await far.blank();
    await page.evaluate(async () => {
      document.body.innerHTML = '<div id="stage" style="position:relative;width:640px;height:360px"></div>';
      const { Player } = await import('/heldar-player.js');
      window.player = new Player(document.querySelector('#stage'), { camera: 'gate', stream: 'main', transports: ['whep'] });
      window.pictures = [];
      for (const video of document.querySelectorAll('video')) {
        const seen = () => {
          window.pictures.push([performance.now(), video.videoWidth]);
          video.requestVideoFrameCallback(seen);
        };
        video.requestVideoFrameCallback(seen);
      }
      window.player.play();
    });
    const width = () => page.evaluate(() => window.pictures.at(-1)?.[1] ?? 0);
    await until(async () => (await width()) === 1280, 'the large pictures are shown', 20_000);
    narrow(900);
    const reduced = Date.now();
    await until(async () => (await width()) === 640, 'the small pictures are shown', 40_000);
    console.log(`# the small pictures were there ${Date.now() - reduced} ms after the link became narrow`);
    // Who sits elsewhere notices nothing of it.
    const watcher = await Sockets.open(near, server);
    const { ws_url: url } = await server.get('/api/v1/cameras/gate/liveview?stream=main');
    await page.evaluate(() => void (window.pictures.length = 0));
    const { pictures, longest } = await watcher.take(url, 6);
    assert.ok(pictures >= 6 * 25 - 10 && longest < 1000, `${pictures} pictures, ${longest} ms`);
    const small = await page.evaluate(() => window.pictures);
    assert.ok(small.every(([, width]) => width === 640));
    assert.ok(small.length > 5 * 25, `${small.length} pictures in 6 s`);
  } finally {
    await near.close();
  }
});
