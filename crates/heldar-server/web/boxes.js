// What workers and built-in motion found, drawn over the picture that it was found in.
//
// Owns: the detections around the instant on screen, live ones by a socket, past ones by pages. Never: the instant itself,
// which the viewer tells.

import { can } from './account.js';
import { get } from './api.js';
import { attribute, find } from './dom.js';

/** A result is shown until the next one of its task, at most so long, in milliseconds. */
const LASTS = 900;
/** Clocks of pictures and results agree to about so much. */
const SLACK = 60;
/** Length of a page of the past, and how far before its end the next one is asked for. */
const PAGE = 10_000;
const AHEAD = 3_000;
/** Rest before a socket that was lost is opened again, and before a page is asked for again. */
const REST = 3_000;
/** Time between two looks whether anybody is to find anything. */
const LOOK = 30_000;
/** Time between two drawings. */
const EVERY = 80;

export class Boxes {
  #player;
  #canvas = find('boxes');
  #toggle = find('boxes-toggle');
  #isOn = true;
  /** Results by task type, each list by time: `{ at, boxes }`. */
  #results = new Map();
  #camera = '';
  #socket = null;
  #retryAt = 0;
  /** Whether the camera has tasks, and when that was last asked for. */
  #hasTasks = false;
  #lookedAt = 0;
  /** The stretch of the past that is known. */
  #known = { from: NaN, to: NaN };
  #isAsking = false;
  #drawn = 0;

  constructor(player) {
    this.#player = player;
    this.#toggle.addEventListener('click', () => {
      this.#isOn = !this.#isOn;
      attribute(this.#toggle, 'aria-pressed', String(this.#isOn));
    });
    const step = (time) => {
      if (time - this.#drawn >= EVERY) {
        this.#drawn = time;
        this.#update();
      }
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  #update() {
    const { camera, isLive, wall } = this.#player;
    this.#toggle.hidden = !can('events:read');
    const isWanted = this.#isOn && !this.#toggle.hidden && camera !== '';
    if (camera !== this.#camera) this.#forget(camera);
    if (!isWanted || !isLive) this.#close();
    if (isWanted && isLive) this.#look(camera);
    if (isWanted && isLive && this.#hasTasks) this.#open(camera);
    if (isWanted && !isLive && !Number.isNaN(wall)) this.#ask(camera, wall);
    this.#draw(isWanted ? wall : NaN);
  }

  #forget(camera) {
    this.#camera = camera;
    this.#close();
    this.#results.clear();
    this.#known = { from: NaN, to: NaN };
    [this.#hasTasks, this.#lookedAt] = [false, 0];
  }

  /** Where nobody looks for anything no socket is needed. */
  async #look(camera) {
    if (Date.now() < this.#lookedAt + LOOK || !can('ai:tasks')) return;
    this.#lookedAt = Date.now();
    const tasks = await get(`/api/v1/cameras/${camera}/ai-tasks`).catch(() => []);
    if (camera === this.#camera) this.#hasTasks = tasks.some((task) => task.enabled);
  }

  #close() {
    this.#socket?.close();
    this.#socket = null;
  }

  #open(camera) {
    if (this.#socket || Date.now() < this.#retryAt) return;
    const query = new URLSearchParams({ topics: 'detections', include: 'detections', camera_id: camera });
    const socket = new WebSocket(`${location.origin.replace(/^http/, 'ws')}/api/v1/events/ws?${query}`);
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => {
      const message = JSON.parse(data);
      if (this.#socket !== socket || message.type !== 'detections') return;
      this.#take(message.entry.task_type, Date.parse(message.entry.captured_at), message.entry.detections ?? []);
    });
    socket.addEventListener('close', () => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      this.#retryAt = Date.now() + REST;
    });
  }

  /** Asks for the detections around an instant that are not known yet. */
  async #ask(camera, wall) {
    const { from, to } = this.#known;
    const isKnown = wall >= from && wall < to - AHEAD;
    if (isKnown || this.#isAsking || Date.now() < this.#retryAt) return;
    this.#isAsking = true;
    const [start, end] = [wall - 1_000, wall + PAGE];
    const query = new URLSearchParams({ from: new Date(start).toISOString(), to: new Date(end).toISOString(), order: 'asc', limit: '5000' });
    try {
      const rows = await get(`/api/v1/cameras/${camera}/detections?${query}`);
      if (camera !== this.#camera) return;
      this.#results.clear();
      const groups = Map.groupBy(rows, (row) => `${row.task_type} ${row.timestamp}`);
      for (const [{ task_type: type, timestamp }] of groups.values()) this.#take(type, Date.parse(timestamp), groups.get(`${type} ${timestamp}`));
      this.#known = { from: start, to: end };
    } catch {
      // The player says what is wrong with the server.
      this.#retryAt = Date.now() + REST;
    } finally {
      this.#isAsking = false;
    }
  }

  #take(type, at, boxes) {
    const list = this.#results.get(type) ?? [];
    this.#results.set(type, list);
    const place = list.findLastIndex((one) => one.at <= at) + 1;
    list.splice(place, 0, { at, boxes: boxes.filter((one) => one.bbox) });
    if (list.length > 2000) list.splice(0, 1000);
  }

  /** The newest result of each task that is not of a later picture. */
  #shown(wall) {
    const shown = [];
    for (const list of this.#results.values()) {
      const found = list.findLast((one) => one.at <= wall + SLACK);
      if (found && found.at > wall - LASTS) shown.push(...found.boxes);
    }
    return shown;
  }

  #draw(wall) {
    const canvas = this.#canvas;
    const { clientWidth, clientHeight } = canvas;
    const scale = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(clientWidth * scale), Math.round(clientHeight * scale)];
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const context = canvas.getContext('2d');
    context.clearRect(0, 0, width, height);
    const boxes = Number.isNaN(wall) ? [] : this.#shown(wall);
    attribute(canvas, 'data-boxes', String(boxes.length));
    if (!boxes.length) return;
    // Where the picture is inside of the screen.
    const video = [...find('screen').querySelectorAll('video')].find((one) => one.videoWidth > 0);
    const ratio = video ? video.videoWidth / video.videoHeight : 16 / 9;
    const [w, h] = width / height > ratio ? [height * ratio, height] : [width, width / ratio];
    const [left, top] = [(width - w) / 2, (height - h) / 2];
    const style = getComputedStyle(canvas);
    context.lineWidth = 2 * scale;
    context.font = `${12 * scale}px ${style.fontFamily}`;
    context.textBaseline = 'bottom';
    for (const { bbox: [x, y, bw, bh], label, confidence } of boxes) {
      const isMotion = label === 'motion';
      context.setLineDash(isMotion ? [4 * scale, 4 * scale] : []);
      context.strokeStyle = style.getPropertyValue(isMotion ? '--box-motion' : '--box');
      context.strokeRect(left + x * w, top + y * h, bw * w, bh * h);
      if (isMotion || !label) continue;
      const words = confidence === null || confidence === undefined ? label : `${label} ${Math.round(confidence * 100)} %`;
      const [at, baseline] = [left + x * w, Math.max(top + y * h, top + 16 * scale)];
      context.fillStyle = style.getPropertyValue('--box-ground');
      context.fillRect(at, baseline - 16 * scale, context.measureText(words).width + 8 * scale, 16 * scale);
      context.fillStyle = style.getPropertyValue('--box');
      context.fillText(words, at + 4 * scale, baseline - scale);
    }
  }
}
