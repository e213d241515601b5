// Playback sessions in hls.js, in Chromium: over gaps, changes of size and codec parameters, with sound and B-frames, and
// while they are being recorded.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { numberOf } from '../strip.mjs';
import { footage, ids, pictureAt, segments, session, time, world } from './world.mjs';

const hls = readFileSync(new URL('../node_modules/hls.js/dist/hls.min.js', import.meta.url), 'utf8');
const screen = readFileSync(new URL('./screen.js', import.meta.url), 'utf8');

/** A page of the server's own origin that can hold screens; its own policy would refuse the test's scripts. */
export async function screens() {
  const page = await (await world.browser.newContext({ bypassCSP: true })).newPage();
  await page.goto(`${world.server.url}/healthz`);
  await page.evaluate(() => document.body.replaceChildren());
  for (const content of [`window.numberOf = ${numberOf};`, hls, screen]) await page.addScriptTag({ content });
  return page;
}

/** Opens a playlist and tells what is on screen before anything is played. */
function open(page, playlist) {
  return page.evaluate(async (url) => {
    window.shown = new Screen();
    await shown.playlist(url);
    await shown.settle();
    return shown.told();
  }, playlist);
}

/**
 * The fragment that times are counted from: the first behind a discontinuity, where sound and pictures begin together. In
 * those that follow it may run ahead of them, and hls.js gives a fragment the time of what is first in it.
 */
function anchor(fragments, before) {
  const fragment = fragments.findLast(before) ?? fragments[0];
  return fragments.find(({ cc }) => cc === fragment.cc);
}

/** Wall time of a media time of hls.js, by the program date times of its fragments. */
function wallOf(fragments, media) {
  // A picture that begins with a fragment belongs to it, whatever the last digit says.
  const { programDateTime, start } = anchor(fragments, (fragment) => fragment.start <= media + 0.002);
  return programDateTime + (media - start) * 1000;
}

/** Media time of an instant that is in a fragment. */
function mediaOf(fragments, instant) {
  const { programDateTime, start } = anchor(fragments, (fragment) => fragment.programDateTime <= instant);
  return start + (instant - programDateTime) / 1000;
}

/**
 * Judges what went by while it was played: no stall, no hole but a little sound where the server was killed, pictures in the
 * order in which they were recorded, each at its place on the wall clock.
 */
function judge({ frames, errors, buffered, fragments }, pictures) {
  // A machine too busy to decode in time stalls anywhere; a border that cannot be passed leaves a hole or an error.
  const busy = ['bufferStalledError', 'bufferNudgeOnStall'];
  assert.deepEqual(errors.filter((error) => !busy.includes(error)), []);
  for (const [index, [behind]] of buffered.slice(1).entries()) {
    const before = buffered[index][1];
    const next = fragments.find(({ start }) => Math.abs(start - behind) < 0.01);
    const [last] = fragments.slice(fragments.indexOf(next) - 1);
    const wasKilled = next && last.programDateTime < world.killed && next.programDateTime > world.killed;
    assert.ok(wasKilled && behind - before < 0.25, `a hole in what is buffered: ${JSON.stringify(buffered)}`);
  }
  // A busy machine shows fewer.
  assert.ok(frames.length > pictures.length / 4, `${frames.length} of ${pictures.length} pictures`);
  let at = 0;
  for (const [media, number, lateness] of frames) {
    const found = pictures.findIndex((picture, index) => index >= at && picture.number === number);
    assert.ok(found >= 0, `picture ${number} at ${media} after ${pictures[at].number}`);
    at = found;
    const wall = wallOf(fragments, media);
    const due = pictures.findLastIndex(({ start }) => start <= wall + 3);
    // At twice the speed the picture that is read may be the next one already, or the one after; or a later one, if it was
    // read late.
    const late = 2 + Math.ceil((2 * lateness) / (pictures[found].end - pictures[found].start));
    assert.ok(due <= found && found <= due + late, `picture ${number} is of ${pictures[found].start}, shown at ${wall}`);
  }
  // A busy machine may read none of the last few in time; what stays on screen at the end is judged by itself.
  assert.ok(at > pictures.length - 8, `up to picture ${at} of ${pictures.length}`);
}

/** Plays a session that goes on while it is recorded, from inside a group of pictures over the ends of open segments. */
export async function playWhileRecorded(id) {
  const [newest] = (await segments(id)).slice(-1);
  const [from, to] = [time(newest.end_time) - 2730, time(newest.end_time) + 7410];
  const { playlist_url: playlist } = await session(id, from, to);
  const page = await screens();
  await open(page, playlist);
  const told = await page.evaluate(() => shown.play());
  await page.context().close();
  return { from, to, told };
}

/** Judges that against what was recorded: from the picture at its start up to the one at its end. */
export function judgeWhileRecorded(id, { from, to, told }) {
  const pictures = footage(id).pictures.filter((picture) => picture.end > from && picture.start < to);
  const shown = told.frames.filter(([media]) => wallOf(told.fragments, media) > from - 40);
  judge({ ...told, frames: shown }, pictures);
  assert.equal(told.number, pictures.at(-1).number, 'up to the picture at the end');
}

// Rather fast, to be done sooner; from the middle of the first group of pictures on.
describe('hls.js', { concurrency: 2 }, () => {
  for (const id of ids) {
    test(`plays ${id} from end to end and goes to any instant`, async () => {
      const { pictures, start, end } = footage(id);
      const from = start + 730;
      const { playlist_url: playlist } = await session(id, from, end);
      const page = await screens();
      const first = await open(page, playlist);
      assert.equal(first.number, pictureAt(pictures, from).number, 'begins at `from`');
      const told = await page.evaluate(() => shown.play(2));
      judge(told, pictures);
      assert.equal(told.number, pictures.at(-1).number, 'up to the last picture');
      assert.ok(told.seconds < told.duration + 5, `${told.seconds} s for ${told.duration} s at twice the speed`);
      // One in each tenth of the footage, at any place inside.
      for (let tenth = 0; tenth < 10; tenth += 1) {
        const wanted = pictures[Math.floor(((tenth + 0.37) * pictures.length) / 10)];
        const instant = wanted.start + (wanted.end - wanted.start) * (0.2 + 0.06 * tenth);
        const { number } = await page.evaluate((media) => shown.seek(media), mediaOf(told.fragments, instant));
        assert.equal(number, wanted.number, `${instant - start} ms after the start`);
      }
      await page.context().close();
    });
  }
});
