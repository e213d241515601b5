// The player as people see it: screen, clock, controls and keys. What is played is the viewer's business (viewer.js).

import { can, reasonAgainst } from './account.js';
import { allow, attribute, find, text, toast } from './dom.js';
import { clock, day, fromField, span, toField, when } from './time.js';
import { Viewer } from './viewer.js';

const SPEEDS = [0.5, 1, 2, 4, 8];
/** Phases in which there is nothing to pause. */
const STILL = ['idle', 'refused', 'empty', 'failed', 'unplayable', 'ended'];
/** What is tried again by a click on the words. */
const CLICKABLE = ['failed', 'ended'];
/** Controls that lead to recordings. */
const PAST = ['back', 'on', 'frame-back', 'frame-on'];

/** Whether this build has a live view. */
let hasLive = true;

/** Binds the controls to a new player and returns it. `names` and `rates` tell of a camera its name and its picture rate. */
export function makeStage(names, rates) {
  const player = new Viewer(find('video-a'), find('video-b'), rates);
  const click = (id, act) => find(id).addEventListener('click', act);
  click('play', () => player.toggle());
  click('back', () => player.jump(-10));
  click('on', () => player.jump(10));
  click('frame-back', () => player.step(-1));
  click('frame-on', () => player.step(1));
  click('latest', () => player.latest());
  click('sound', () => player.setMuted(!player.muted));
  click('full', fullScreen);
  find('screen').addEventListener('click', (event) => {
    if (event.target instanceof HTMLVideoElement) player.toggle();
  });
  find('notice').addEventListener('click', () => CLICKABLE.includes(player.phase) && player.retry());
  find('speed').addEventListener('change', (event) => player.setSpeed(Number(event.target.value)));
  bindGoTo(player);
  document.addEventListener('keydown', (event) => key(player, event));
  player.addEventListener('change', () => show(player, names));
  player.addEventListener('time', (event) => {
    showTime(event.detail);
    showLive(player);
  });
  player.addEventListener('skip', ({ detail: { start, end } }) => {
    toast(`Nothing was recorded from ${when(start)} to ${when(end)} (${span((end - start) / 1000)}).`);
  });
  player.hasLive.then((has) => {
    hasLive = has;
    show(player, names);
  });
  return player;
}

/** Makes an instant the one that "Go" would go to, unless somebody is typing another. */
export function offerTime(instant) {
  const field = find('goto-time');
  if (document.activeElement !== field && !Number.isNaN(instant)) field.value = toField(instant);
}

function bindGoTo(player) {
  find('goto').addEventListener('submit', (event) => {
    event.preventDefault();
    const instant = fromField(find('goto-time').value);
    if (!Number.isNaN(instant)) player.seek(instant);
    find('goto-time').blur();
  });
}

function fullScreen() {
  // A browser that refuses says so by staying as it is.
  if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
  else find('screen').requestFullscreen?.().catch(() => {});
}

function show(player, names) {
  const ready = player.phase === 'ready';
  const playing = player.playing && !STILL.includes(player.phase);
  find('play-icon').setAttribute('href', playing ? '#i-pause' : '#i-play');
  attribute(find('play'), 'aria-label', playing ? 'Pause' : 'Play');
  find('speed').value = String(player.speed);
  find('speed').disabled = player.isLive;
  attribute(find('latest'), 'aria-pressed', String(player.following));
  find('sound-icon').setAttribute('href', player.muted ? '#i-muted' : '#i-sound');
  attribute(find('sound'), 'aria-pressed', String(!player.muted));
  find('play').disabled = Number.isNaN(player.wall);
  showRights(player);
  text(find('screen-camera'), player.camera ? names(player.camera) : '');
  showLive(player);
  const notice = find('notice');
  text(notice, noticeText(player));
  find('screen').dataset.phase = player.phase;
  notice.classList.toggle('clickable', CLICKABLE.includes(player.phase));
}

/** What may not be done says so in its title. */
function showRights(player) {
  const mayLive = can('video:live');
  const reason = reasonAgainst('video:playback');
  text(find('latest'), hasLive && mayLive ? 'Live' : 'Latest');
  allow(find('latest'), mayLive ? '' : reason);
  for (const control of find('goto').elements) allow(control, reason);
  for (const id of PAST) allow(find(id), reason, !Number.isNaN(player.wall));
}

/** Whether it is live, and how that comes, what it is and how old. */
function showLive(player) {
  text(find('screen-live'), player.isLive && player.following && player.phase === 'ready' ? 'Live' : '');
  text(find('screen-facts'), player.description);
}

function noticeText({ phase, message, isLive }) {
  switch (phase) {
    case 'loading':
      return isLive ? message || 'Connecting…' : 'Loading…';
    case 'stalled':
      return message;
    case 'offline':
      return `${message} Trying again…`;
    case 'ended':
      return `${message} Click to watch again.`;
    case 'waiting':
      return 'Waiting for more footage…';
    case 'empty':
      return 'Nothing has been recorded yet.';
    case 'failed':
      return `${message} Click to try again.`;
    case 'unplayable':
      return message;
    case 'refused':
      return 'This account may watch neither live pictures nor recordings.';
    case 'idle':
      return 'Pick a camera or a time.';
    default:
      return '';
  }
}

function showTime(instant) {
  const none = Number.isNaN(instant);
  text(find('clock-time'), none ? '--:--:--' : clock(instant, { tenths: true }));
  text(find('clock-day'), none ? '' : day(instant));
  offerTime(instant);
}

/** Keys of the player; those that a focused field or slider needs stay its own. */
function key(player, event) {
  if (find('main').hidden || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  const { target } = event;
  if (target instanceof HTMLElement && target.matches('input, select, textarea')) return;
  const slider = target instanceof HTMLElement && target.getAttribute('role') === 'slider';
  const button = target instanceof HTMLElement && target.matches('button, a');
  const act = {
    ' ': () => !button && player.toggle(),
    ArrowLeft: () => !slider && player.jump(-10),
    ArrowRight: () => !slider && player.jump(10),
    ',': () => player.step(-1),
    '.': () => player.step(1),
    '+': () => speedBy(player, 1),
    '-': () => speedBy(player, -1),
    i: () => find('mark-in').click(),
    o: () => find('mark-out').click(),
    l: () => player.latest(),
    m: () => player.setMuted(!player.muted),
    f: fullScreen,
  }[event.key];
  if (act && act() !== false) event.preventDefault();
}

function speedBy(player, direction) {
  const next = SPEEDS[SPEEDS.indexOf(player.speed) + direction];
  if (next) player.setSpeed(next);
}
