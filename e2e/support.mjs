// What the end-to-end tests share: processes that are ended by id, the API, a browser.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
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

/** The password of whoever the tests make. */
export const PASSWORD = 'correct horse 47';

export class Server {
  /** Sent as a Bearer token with what is asked; '' for none. */
  credential = '';
  constructor(folder, env = {}) {
    this.folder = folder;
    this.logFile = `${folder}.log`;
    this.env = env;
  }

  async start() {
    this.port ??= await freePort();
    const isSecure = (this.env.HELDAR_TLS ?? 'off') !== 'off';
    this.url = `${isSecure ? 'https' : 'http'}://127.0.0.1:${this.port}`;
    const env = { ...process.env, HELDAR_DATA_DIR: this.folder, HELDAR_API_PORT: String(this.port), HELDAR_WEBRTC_UDP_PORT: '0', HELDAR_RTSP_PORT: '0', HELDAR_MOTION_ENABLED: 'false', ...this.env };
    // A pipe would fill while a test waits for another program, and the server with it.
    const log = openSync(this.logFile, 'w');
    this.child = spawn(binary, ['serve'], { env, stdio: ['ignore', 'ignore', log] });
    closeSync(log);
    await until(async () => {
      if (this.child.exitCode !== null) throw new Error(`heldar serve ended with ${this.child.exitCode}\n${this.log}`);
      // Its certificate is known to nobody.
      return isSecure ? this.log.includes('listening on https') : (await fetch(this.url).catch(() => null))?.ok;
    }, 'the server answers');
    return this;
  }

  /** What the server has logged since it was started. */
  get log() {
    return readFileSync(this.logFile, 'utf8');
  }

  async stop(signal) {
    await end(this.child, signal);
    process.stderr.write(this.log);
  }

  kill() {
    return this.stop('SIGKILL');
  }

  /** What is answered, whatever that is; the body as text where it is no JSON, null where there is none. */
  async ask(method, path, { body, headers = {}, credential = this.credential } = {}) {
    const sent = { ...(body !== undefined && { 'content-type': 'application/json' }), ...(credential && { authorization: `Bearer ${credential}` }), ...headers };
    const answer = await fetch(this.url + path, { method, headers: sent, body: body && JSON.stringify(body) });
    const text = await answer.text();
    const isJson = /json/.test(answer.headers.get('content-type'));
    return { status: answer.status, ok: answer.ok, headers: answer.headers, text, body: text === '' ? null : isJson ? JSON.parse(text) : text };
  }

  async call(method, path, body) {
    const answer = await this.ask(method, path, { body });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
    return answer.body;
  }

  get(path) {
    return this.call('GET', path);
  }

  post(path, body) {
    return this.call('POST', path, body);
  }

  /** The one-time link for the first administrator, which a server without users logs when it starts. */
  setUpLink() {
    return until(() => /\S+\/#setup=\S+/.exec(this.log)?.[0], 'a set-up link in the log');
  }

  /** Makes the first administrator, who asks from then on. */
  async setUp(username) {
    const [, token] = (await this.setUpLink()).split('#setup=');
    const { token: credential } = await this.post('/api/v1/auth/setup', { setup_token: token, username, password: PASSWORD });
    this.credential = credential;
  }

  /** Signs somebody in, who asks from then on. */
  async signIn(username, password = PASSWORD) {
    const { token } = await this.post('/api/v1/auth/login', { username, password });
    this.credential = token;
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

export function launchBrowser(executablePath = browserPath, more = []) {
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
      ...more,
    ],
  });
}

/**
 * Collects in `complaints` what a page complains of: errors, warnings, what its policy forbids, and answers of 400 and more.
 * Those are told as `STATUS PATH` and left out where `isExpected(told)`.
 */
export async function listen(page, complaints, isExpected = () => false) {
  const complain = (words) => isExpected(words) || complaints.push(words);
  page.on('pageerror', (error) => complain(String(error)));
  page.on('response', (answer) => answer.status() >= 400 && complain(`${answer.status()} ${new URL(answer.url()).pathname}`));
  page.on('console', (message) => {
    if (!['error', 'warning'].includes(message.type())) return;
    // The browser says of each answer like that what has been told already.
    const [, status] = /^Failed to load resource: the server responded with a status of (\d+)/.exec(message.text()) ?? [];
    complain(status ? `${status} ${new URL(message.location().url).pathname}` : message.text());
  });
  await page.exposeBinding('tellOfPolicy', (_, words) => complain(words));
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => globalThis.tellOfPolicy(`${violatedDirective} forbids ${blockedURI}`));
  });
}

/** Waits until pictures go by on the page of the server. */
export const playing = (page) => page.waitForFunction(() => document.querySelector('#screen[data-phase=ready]') && document.querySelector('video.front')?.currentTime > 0.2);

/** Fills the named fields of the form with that label and sends it. */
export async function send(page, label, fields) {
  const form = page.getByRole('form', { name: label });
  for (const [name, value] of Object.entries(fields)) await form.locator(`[name=${name}]`).fill(value);
  await form.locator('button[type=submit]').click();
}
