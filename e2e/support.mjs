// What the end-to-end tests share: processes that are ended by id, the API, a browser.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const binary = process.env.E2E_BINARY ?? new URL('../target/debug/heldar', import.meta.url).pathname;

export async function freePort() {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

export function scratch() {
  const path = mkdtempSync(join(tmpdir(), 'heldar-e2e-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export function run(program, args) {
  const done = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 64 << 20 });
  if (done.error) throw done.error;
  return { status: done.status, out: done.stdout, err: done.stderr };
}

// A test pattern with a sync sample each second.
export function makeClip(path, args = ['-c:v', 'libx264', '-bf', '0', '-g', '25', '-pix_fmt', 'yuv420p']) {
  const source = ['-f', 'lavfi', '-i', 'testsrc2=size=640x360:rate=25', '-t', '10'];
  const made = run('ffmpeg', ['-v', 'error', '-y', ...source, ...args, path]);
  if (made.status !== 0) throw new Error(made.err);
}

async function end(child, signal = 'SIGTERM') {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill(signal);
  await gone;
}

/** Where the clips of the test cameras' scene are kept: beside the binary, with those of the other tests. */
const clips = join(dirname(binary), '../tmp/testcam-media');

export async function startCameras(args) {
  args = ['--media-dir', clips, ...args];
  const child = spawn(binary, ['testcam', ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  const cameras = [];
  const wanted = Number(args[args.indexOf('--cameras') + 1] ?? 1);
  for await (const line of lines) {
    cameras.push(JSON.parse(line));
    if (cameras.length === wanted) break;
  }
  if (cameras.length < wanted) throw new Error('the test cameras did not start');
  return { cameras, stop: () => end(child) };
}

export class Server {
  constructor(folder, env = {}) {
    this.folder = folder;
    this.env = env;
  }

  async start() {
    this.port ??= await freePort();
    this.url = `http://127.0.0.1:${this.port}`;
    const env = { ...process.env, HELDAR_DATA_DIR: this.folder, HELDAR_API_PORT: String(this.port), HELDAR_WEBRTC_UDP_PORT: '0', HELDAR_RTSP_PORT: '0', ...this.env };
    this.child = spawn(binary, ['serve'], { env, stdio: ['ignore', 'ignore', 'inherit'] });
    await until(async () => {
      if (this.child.exitCode !== null) throw new Error(`heldar serve ended with ${this.child.exitCode}`);
      return (await fetch(this.url).catch(() => null))?.ok;
    }, 'the server answers');
    return this;
  }

  stop() {
    return end(this.child);
  }

  kill() {
    return end(this.child, 'SIGKILL');
  }

  async call(method, path, body) {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const answer = await fetch(this.url + path, { method, headers, body: body && JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text === '' ? null : JSON.parse(text);
  }

  get(path) {
    return this.call('GET', path);
  }

  post(path, body) {
    return this.call('POST', path, body);
  }
}

export async function until(check, what, timeoutMs = 30_000) {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** The browser that is used. */
export const browserPath = process.env.CHROMIUM ?? '/usr/bin/chromium';

export function launchBrowser(executablePath = browserPath) {
  return chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--autoplay-policy=no-user-gesture-required',
    ],
  });
}
