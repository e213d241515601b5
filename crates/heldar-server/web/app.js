// The page: what is asked of the server and how often, which camera and which window are looked at, and who is told.

import { showAbout } from './about.js';
import { account, can } from './account.js';
import { ApiError, get, now, poll } from './api.js';
import { Clips } from './clips.js';
import { bindAdd, bindRemove } from './dialogs.js';
import { find, h, text, toast } from './dom.js';
import { keepTheDoor } from './entry.js';
import { Boxes } from './boxes.js';
import { makeStage } from './stage.js';
import { Timeline } from './timeline.js';
import { iso, parse, zone } from './time.js';
import { bytes } from './words.js';

const MINUTE = 60_000;
/** Share of the timeline that lies ahead of now while it moves along. */
const AHEAD = 0.02;
const STATUS_MS = 2_000;
const STRIP_MS = 5_000;
/** Strips of a day, or of the past, change too little for that. */
const SLOW_STRIP_MS = 20_000;
const CAMERAS_MS = 10_000;
const SYSTEM_MS = 30_000;

const page = {
  cameras: [],
  statuses: new Map(),
  selected: '',
  /** Length of the timeline, and its begin where it does not move along with now. */
  length: 60 * MINUTE,
  from: null,
  started: false,
  /** Whether the length of the timeline has been chosen, by somebody or by how much footage there is. */
  lengthChosen: false,
};

const chosen = () => page.cameras.find((camera) => camera.id === page.selected);
const nameOf = (id) => page.cameras.find((camera) => camera.id === id)?.name ?? id;

const rateOf = (id) => page.cameras.find((camera) => camera.id === id)?.fps_main;

const player = makeStage(nameOf, rateOf);
new Boxes(player);
const timeline = new Timeline({
  seek: (id, instant, direction = 1) => seek(id, instant, direction),
  select: (id) => select(id),
  mark: (marks) => clips.setMarks(marks),
  now,
});
const clips = new Clips({
  instant: () => player.wall,
  changed: (marks) => timeline.setMarks(marks),
});

player.addEventListener('time', (event) => timeline.setInstant(event.detail));

// Choosing

function choose(id) {
  if (page.selected === id) return;
  page.selected = id;
  clips.setCamera(id);
  show();
}

/** Another camera shows the same instant, or is live like the one before. */
function select(id) {
  const { following, wall } = player;
  choose(id);
  if (following || Number.isNaN(wall)) player.latest(id);
  else player.seek(wall, { camera: id });
}

function seek(id, instant, direction) {
  choose(id);
  player.seek(instant, { camera: id, direction });
}

/** The address of the page names camera and time, so that it can be kept and passed on. */
function remember() {
  const at = Number.isNaN(player.wall) || player.following ? '' : `@${iso(player.wall).slice(0, 23)}Z`;
  history.replaceState(null, '', `#${player.camera}${at}`);
}

player.addEventListener('change', () => {
  if (player.phase === 'ready' && page.started) remember();
});

/** Camera and instant that the address names; NaN for none, '' for a camera that is not there. */
function addressed() {
  const [, id, at] = /^#([^@]*)@?(.*)$/.exec(location.hash) ?? ['', '', ''];
  return { id: page.cameras.some((camera) => camera.id === id) ? id : '', instant: parse(at) };
}

/** Shows what the address names, else the first camera that is being recorded, live. */
function begin() {
  if (page.started || !page.cameras.length) return;
  page.started = true;
  const { id, instant } = addressed();
  const working = page.cameras.find((camera) => page.statuses.get(camera.id)?.state === 'recording');
  choose(id || (working ?? page.cameras[0]).id);
  if (id && !Number.isNaN(instant)) player.seek(instant, { camera: id });
  else player.latest(page.selected);
}

window.addEventListener('hashchange', () => {
  if (!find('main').hidden) goWhereAddressed();
});

function goWhereAddressed() {
  const { id, instant } = addressed();
  if (!id) return;
  choose(id);
  if (Number.isNaN(instant)) player.latest(id);
  else player.seek(instant, { camera: id });
}

// The window of the timeline

function bounds() {
  const from = page.from ?? now() - page.length * (1 - AHEAD);
  return { from, to: from + page.length };
}

function showWindow() {
  const { from, to } = bounds();
  timeline.setWindow(from, to);
  find('now').setAttribute('aria-pressed', String(page.from === null));
}

function pan(share) {
  const { from } = bounds();
  const target = from + share * page.length;
  page.from = target + page.length * (1 - AHEAD) >= now() ? null : target;
  moved();
}

/** Keeps the middle of the window, or its end at now. */
function setLength(minutes) {
  const { from } = bounds();
  const old = page.length;
  page.length = minutes * MINUTE;
  if (page.from !== null) page.from = from + (old - page.length) / 2;
  if (page.from !== null && page.from + page.length > now()) page.from = null;
  for (const button of find('spans').children) {
    button.setAttribute('aria-pressed', String(Number(button.dataset.minutes) === minutes));
  }
  moved();
}

/** A server that has begun a few minutes ago is shown from near. */
function fitLength(found) {
  const starts = found.flatMap(({ ranges }) => (ranges.length ? [ranges[0].start] : []));
  if (page.lengthChosen || !starts.length) return;
  page.lengthChosen = true;
  if (Math.min(...starts) > now() - 12 * MINUTE) setLength(15);
}

function moved() {
  showWindow();
  strips.now();
}

find('earlier').addEventListener('click', () => pan(-0.5));
find('later').addEventListener('click', () => pan(0.5));
find('now').addEventListener('click', () => {
  page.from = null;
  moved();
});
find('spans').addEventListener('click', (event) => {
  const { minutes } = event.target.dataset;
  if (!minutes) return;
  page.lengthChosen = true;
  setLength(Number(minutes));
});
find('goto').addEventListener('submit', () => {
  // What one went to should be in sight.
  const instant = new Date(find('goto-time').value).getTime();
  const { from, to } = bounds();
  if (instant >= from && instant <= to) return;
  page.from = instant - page.length / 2;
  if (page.from + page.length > now()) page.from = null;
  moved();
});

// Asking

let failures = 0;

/** Runs a request of a poll; a server that stays away is said once, above everything. */
async function ask(work) {
  try {
    await work();
    if (failures > 0 && player.phase === 'failed') player.retry();
    failures = 0;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    // Who may ask is the door's business.
    if (error.status === 401) return;
    failures += 1;
    if (failures > 1 || !page.started) banner(error.status === 0 ? 'The server does not answer. Trying again…' : error.text);
    return;
  }
  banner('');
}

function banner(message) {
  find('banner').hidden = !message;
  text(find('banner'), message);
}

const cameras = poll(
  () =>
    ask(async () => {
      page.cameras = can('camera:read') ? await get('/api/v1/cameras') : [];
      find('main').dataset.state = page.cameras.length ? 'ready' : 'empty';
      if (!page.cameras.length && page.started) {
        page.started = false;
        player.pause();
      } else if (!chosen() && page.started) {
        select(page.cameras[0].id);
      }
      show();
    }),
  () => (page.started ? CAMERAS_MS : STATUS_MS),
);

const statuses = poll(
  () =>
    can('camera:read') &&
    ask(async () => {
      const list = await get('/api/v1/health/cameras');
      page.statuses = new Map(list.map((status) => [status.camera_id, status]));
      if (list.some((status) => !page.cameras.some((camera) => camera.id === status.camera_id))) cameras.now();
      begin();
      startWhenThereIsFootage();
      show();
      if (page.from === null) showWindow();
    }),
  () => STATUS_MS,
);

const strips = poll(
  () =>
    can('video:playback') &&
    ask(async () => {
      const { from, to } = bounds();
      const query = new URLSearchParams({ from: iso(from), to: iso(Math.min(to, now())), resolution: '0' });
      const answer = await get(`/api/v1/timeline?${query}`);
      const found = new Map(answer.cameras.map((camera) => [camera.camera_id, coverage(camera)]));
      timeline.setCoverage(found);
      fitLength([...found.values()]);
      showWindow();
    }),
  () => (page.from !== null || page.length > 6 * 60 * MINUTE ? SLOW_STRIP_MS : STRIP_MS),
);

// Of the past nothing is left to be told when this fails.
poll(() => can('system:read') && get('/api/v1/system').then(showSystem, () => {}), () => SYSTEM_MS);

function coverage({ ranges, gaps }) {
  const spans = (list) => (list ?? []).map((each) => ({ ...each, start: parse(each.start), end: parse(each.end) }));
  return { ranges: spans(ranges), gaps: spans(gaps) };
}

/** The first pictures of a camera appear by themselves. */
function startWhenThereIsFootage() {
  const status = page.statuses.get(page.selected);
  if (player.phase === 'empty' && player.following && status?.last_segment_at) player.latest();
}

// Showing

function withStatus(camera) {
  return { ...camera, status: page.statuses.get(camera.id) };
}

function show() {
  timeline.setCameras(page.cameras.map(withStatus), page.selected);
  showSummary();
  const camera = chosen();
  showAbout(camera && withStatus(camera));
}

let storage = '';

function showSystem(system) {
  const { disk } = system.storage ?? {};
  storage = [
    system.recordings_bytes !== undefined && `${bytes(system.recordings_bytes)} recorded`,
    disk?.free_bytes !== undefined && `${bytes(disk.free_bytes)} free`,
  ]
    .filter(Boolean)
    .join(' · ');
  showSummary();
}

function showSummary() {
  const list = [...page.statuses.values()];
  const wanted = list.filter((status) => status.state !== 'disabled').length;
  const recording = list.filter((status) => status.state === 'recording').length;
  const summary = find('summary');
  const shown = `${recording} of ${wanted} recording|${list.length}|${storage}`;
  if (summary.dataset.shown === shown) return;
  summary.dataset.shown = shown;
  const count = h('b', { className: recording < wanted ? 'bad' : 'good' }, `${recording} of ${wanted} recording`);
  summary.replaceChildren(list.length ? count : '', h('span', {}, storage));
}

bindAdd((camera) => {
  toast(`${camera.name} is added. Connecting…`);
  page.cameras = [...page.cameras.filter((each) => each.id !== camera.id), camera].sort((a, b) => (a.id < b.id ? -1 : 1));
  find('main').dataset.state = 'ready';
  page.started = true;
  choose(camera.id);
  player.latest(camera.id);
  cameras.now();
  statuses.now();
});

bindRemove(chosen, (id) => {
  toast(`${nameOf(id)} is removed.`);
  page.cameras = page.cameras.filter((camera) => camera.id !== id);
  cameras.now();
  strips.now();
});

// The door

/** Controls follow what may be done. */
function showRights() {
  const mayManage = can('registry:manage');
  find('add-open').hidden = find('add-first').hidden = !mayManage;
  find('remove-open').hidden = !can('admin');
  const mayLookBack = can('video:playback');
  find('no-playback').hidden = mayLookBack;
  if (!mayLookBack) timeline.setCoverage(new Map());
  if (!can('camera:read')) empty('No cameras to be seen', 'This account may not see cameras.');
  else if (mayManage) empty('No cameras yet', 'Heldar records every camera that speaks RTSP. Add the first one; its pictures are here a few seconds later.');
  else empty('No cameras', 'There is none yet, or none that this account may see.');
  clips.showRights();
  player.showRights();
}

function empty(title, words) {
  text(find('empty-title'), title);
  text(find('empty-text'), words);
}

account.addEventListener('change', () => {
  if (find('main').hidden) return;
  showRights();
  for (const poll of [cameras, statuses, strips]) poll.now();
});

keepTheDoor({
  open() {
    showRights();
    if (!page.started) return;
    if (addressed().id) goWhereAddressed();
    else player.latest(page.selected);
  },
  shut() {
    if (page.started && !Number.isNaN(player.wall)) remember();
    player.stop();
    banner('');
    find('add-open').hidden = true;
  },
});

player.hasLive.then((has) => {
  if (!has) toast('This build has no live view, because its player was not built; the newest footage is shown instead.');
});

text(find('zone'), `times in ${zone()}`);
showWindow();
