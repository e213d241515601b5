// A page of the server's own origin that opens WebSockets and peer connections and tells what came of them.
import { readFileSync } from 'node:fs';
import { numberOf } from '../strip.mjs';

const hls = readFileSync(new URL('../node_modules/hls.js/dist/hls.min.js', import.meta.url), 'utf8');
const screen = readFileSync(new URL('../playback/screen.js', import.meta.url), 'utf8');

export class Sockets {
  static async open(browser, server) {
    const sockets = new Sockets();
    sockets.browser = browser;
    sockets.server = server;
    sockets.page = await sockets.blank();
    return sockets;
  }

  /** A page without content; the server's own policy would refuse the test's scripts. */
  async blank() {
    const page = await (await this.browser.newContext({ bypassCSP: true })).newPage();
    await page.goto(`${this.server.url}/healthz`);
    await page.evaluate(() => document.body.replaceChildren());
    return page;
  }

  /** A page that can hold screens. */
  async screens() {
    const page = await this.blank();
    for (const content of [`window.numberOf = ${numberOf};`, hls, screen]) await page.addScriptTag({ content });
    return page;
  }

  /**
   * What a WebSocket sends within so many seconds, or until it is closed: its texts, all bytes, how many pictures, the
   * longest time between two, and the code it was closed with.
   */
  async take(url, seconds) {
    const taken = await this.page.evaluate(
      ([url, seconds]) =>
        new Promise((resolve, reject) => {
          const [texts, parts] = [[], []];
          let [pictures, longest, last] = [-1, 0, null];
          const socket = new WebSocket(url);
          socket.binaryType = 'arraybuffer';
          const done = async (closed) => {
            clearTimeout(timer);
            const reader = new FileReader();
            reader.readAsDataURL(new Blob(parts));
            await new Promise((loaded) => (reader.onload = loaded));
            resolve({ texts, pictures, longest, closed, base64: reader.result.slice(reader.result.indexOf(',') + 1) });
          };
          const timer = setTimeout(() => {
            socket.onclose = null;
            socket.close();
            done(null);
          }, seconds * 1000);
          socket.onerror = () => reject(new Error('the WebSocket fails'));
          socket.onclose = ({ code }) => done(code);
          socket.onmessage = ({ data }) => {
            if (typeof data === 'string') return texts.push(JSON.parse(data));
            parts.push(data);
            pictures += 1;
            const now = performance.now();
            if (last !== null) longest = Math.max(longest, now - last);
            last = now;
          };
        }),
      [url, seconds],
    );
    return { ...taken, bytes: Buffer.from(taken.base64, 'base64') };
  }

  /** Watches over WHEP: the session's resource, `stats()`, and `ended()`, which resolves when the connection is over. */
  async whep(url) {
    const page = await this.blank();
    const resource = await page.evaluate(async (url) => {
      const peer = new RTCPeerConnection();
      window.ended = new Promise((resolve) => {
        const look = () => ['closed', 'failed', 'disconnected'].includes(peer.connectionState) && resolve(peer.connectionState);
        peer.onconnectionstatechange = look;
        // Chromium tells of a DTLS close only through the transport.
        setInterval(() => peer.sctp?.transport.state === 'closed' || peer.getReceivers()[0]?.transport?.state === 'closed' ? resolve('closed') : look(), 50);
      });
      peer.addTransceiver('video', { direction: 'recvonly' });
      await peer.setLocalDescription();
      const answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/sdp' }, body: peer.localDescription.sdp });
      if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`);
      await peer.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
      window.peer = peer;
      return answer.headers.get('location');
    }, url);
    return {
      resource: new URL(resource, url).href,
      /** What the browser counts of the pictures. */
      stats: () =>
        page.evaluate(async () => {
          for (const entry of (await window.peer.getStats()).values()) {
            if (entry.type === 'inbound-rtp' && entry.kind === 'video') {
              const { frameWidth, framesDecoded, framesDropped, keyFramesDecoded } = entry;
              return { frameWidth, framesDecoded, framesDropped, keyFramesDecoded };
            }
          }
          return {};
        }),
      ended: async () => {
        await page.evaluate(() => window.ended);
        await page.close();
      },
    };
  }
}
