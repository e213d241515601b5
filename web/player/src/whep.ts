// Live pictures by WebRTC: the viewer's side of WHEP.
//
// One offer, one answer, no trickle and nothing gathered beforehand: the server listens on addresses of its own and finds the
// viewer by the checks that the viewer sends (ICE lite). The session is a resource of the server's, which is deleted when the
// viewer leaves.

import { refusal } from './api.js';
import { nameOf } from './codecs.js';
import { Delay } from './delay.js';
import { Failure } from './failure.js';
import { iceServers } from './link.js';
import type { Shown, Taken, Transport, Way } from './transport.js';

/** A path that is interrupted for so long is given up. */
const INTERRUPTED_MS = 5000;
const LOOK_MS = 500;

/** The members of reports that are used here; TypeScript's library lacks some. */
interface Report {
  type: string;
  timestamp: number;
  kind?: string;
  codecId?: string;
  mimeType?: string;
  framesDecoded?: number;
  frameWidth?: number;
  frameHeight?: number;
  remoteTimestamp?: number;
  nominated?: boolean;
  currentRoundTripTime?: number;
}

export class WhepTransport implements Transport {
  readonly name = 'whep' as const;
  #way: Way;
  #peer: RTCPeerConnection;
  #cancel = new AbortController();
  #resource = '';
  #interrupted: ReturnType<typeof setTimeout> | undefined;
  #look: ReturnType<typeof setInterval>;
  #decoded = 0;
  #told = '';
  #delay = new Delay();
  /** Round trip of the path, in milliseconds. */
  #roundTrip = 0;
  #isOver = false;
  #hasLeft = false;

  constructor(way: Way) {
    this.#way = way;
    this.#peer = new RTCPeerConnection({ iceServers: way.urls.ice_servers, bundlePolicy: 'max-bundle' });
    this.#look = setInterval(() => void this.#report(), LOOK_MS);
    addEventListener('pagehide', this.#hidden);
    this.#open().catch((error: unknown) => this.#fail(Failure.of(error, 'unusable')));
  }

  close(): void {
    this.#isOver = true;
    this.#cancel.abort();
    clearInterval(this.#look);
    clearTimeout(this.#interrupted);
    removeEventListener('pagehide', this.#hidden);
    // Pausing keeps the last picture; a track that has ended may take it away.
    this.#way.video.pause();
    // The server would end the session by itself when the path closes, and then know nothing of the resource.
    void this.#leave().finally(() => this.#peer.close());
  }

  release(): void {
    this.#way.video.srcObject = null;
  }

  instantOf({ captureTime, receiveTime, rtpTimestamp }: Shown): Taken {
    const { clock } = this.#way.api;
    const here = performance.timeOrigin + clock.offset;
    // The browser knows, and has brought it to its own clock.
    if (captureTime !== undefined) return { instant: here + captureTime, isEstimate: false };
    if (receiveTime === undefined || rtpTimestamp === undefined) return { instant: NaN, isEstimate: true };
    const slower = this.#delay.of(rtpTimestamp, receiveTime);
    return { instant: here + receiveTime - slower - this.#roundTrip / 2, isEstimate: true };
  }

  catchUp(): void {
    // The browser's jitter buffer never falls behind.
  }

  async #open(): Promise<void> {
    const peer = this.#peer;
    for (const kind of ['video', 'audio'] as const) peer.addTransceiver(kind, { direction: 'recvonly' });
    const stream = new MediaStream();
    peer.ontrack = ({ track, receiver }) => {
      stream.addTrack(track);
      // Pictures are shown as they come; a browser that knows no such wish ignores it.
      (receiver as { jitterBufferTarget?: number | null }).jitterBufferTarget = 0;
      this.#way.video.srcObject = stream;
    };
    peer.onconnectionstatechange = () => this.#changed();
    await peer.setLocalDescription(await peer.createOffer());
    const answer = await this.#post(peer.localDescription?.sdp ?? '');
    if (this.#isOver) return;
    await peer.setRemoteDescription({ type: 'answer', sdp: answer });
    for (const receiver of peer.getReceivers()) {
      const transport = receiver.transport;
      if (transport) transport.onstatechange = () => transport.state === 'closed' && this.#ended();
    }
  }

  async #post(offer: string): Promise<string> {
    const { api, urls } = this.#way;
    const headers = { 'Content-Type': 'application/sdp' };
    const answer = await api.fetch(urls.whep_url, { method: 'POST', headers, body: offer });
    // What other servers say of a path that they do not have is no word about the camera.
    if ([404, 405, 501].includes(answer.status)) throw new Failure('unusable', 'The server offers no WebRTC.');
    if (!answer.ok) throw await refusal(answer);
    const location = answer.headers.get('Location');
    if (location) this.#resource = new URL(location, api.url(urls.whep_url)).href;
    const sdp = await answer.text();
    if (this.#isOver) void this.#leave();
    const servers = iceServers(answer.headers.get('Link') ?? '');
    if (servers.length && !this.#isOver) this.#peer.setConfiguration({ ...this.#peer.getConfiguration(), iceServers: servers });
    return sdp;
  }

  readonly #leave = async (): Promise<void> => {
    const resource = this.#resource;
    this.#resource = '';
    if (resource) await this.#way.api.forget(resource);
  };

  /** The page goes; it may come back, and then it is the viewer who has left. */
  readonly #hidden = () => {
    this.#hasLeft = true;
    void this.#leave();
  };

  #changed(): void {
    clearTimeout(this.#interrupted);
    switch (this.#peer.connectionState) {
      case 'failed':
        this.#lost();
        break;
      case 'disconnected':
        this.#interrupted = setTimeout(() => this.#lost(), INTERRUPTED_MS);
        break;
      default:
    }
  }

  #lost(): void {
    const failed = new Failure('unusable', 'No path for WebRTC to the server.');
    this.#fail(this.#decoded ? new Failure('lost', 'The connection was lost.') : failed);
  }

  /** The server took leave in the encrypted path: it was no accident, and the reason is not said. */
  #ended(): void {
    this.#resource = '';
    if (this.#hasLeft) this.#lost();
    else this.#fail(new Failure('lost', 'The server ended this live view.', 'closed_by_server'));
  }

  /** Looks whether pictures came, what they are, how long the path is, and what time it is at the server. */
  async #report(): Promise<void> {
    const stats = (await this.#peer.getStats().catch(() => null)) as Map<string, Report> | null;
    if (!stats || this.#isOver) return;
    const reports = [...stats.values()];
    const find = (fits: (report: Report) => boolean) => reports.find(fits);
    const pair = find(({ type, nominated }) => type === 'candidate-pair' && nominated === true);
    this.#roundTrip = (pair?.currentRoundTripTime ?? 0) * 1000;
    const sender = find(({ type, kind }) => type === 'remote-outbound-rtp' && kind === 'video');
    // A sender's report carries the server's time when it was sent.
    if (sender?.remoteTimestamp) this.#way.api.clock.heard(sender.remoteTimestamp, sender.timestamp, this.#roundTrip);
    const video = find(({ type, kind }) => type === 'inbound-rtp' && kind === 'video');
    if (!video) return;
    this.#decoded = video.framesDecoded ?? 0;
    const codec = stats.get(video.codecId ?? '')?.mimeType ?? '';
    const info = { codec: nameOf(codec), width: video.frameWidth ?? 0, height: video.frameHeight ?? 0 };
    const told = JSON.stringify(info);
    if (!info.width || told === this.#told) return;
    this.#told = told;
    this.#way.hooks.info(info);
  }

  #fail(failure: Failure): void {
    if (this.#isOver) return;
    this.close();
    this.#way.hooks.failed(failure);
  }
}
