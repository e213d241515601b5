// `video.mp4` and clips: exactly the pictures of the window, in ffmpeg and in Chromium, sound as long as they.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { run, until } from '../support.mjs';
import { presented } from '../strip.mjs';
import { screens } from './hls.mjs';
import { footage, rfc3339, segments, time, world } from './world.mjs';

let page;

/** Opens the page that clips are looked at in. */
export async function openPage() {
  page = await screens();
}

/** A window whose end is half a second old, asked for twice while more is being recorded. */
export async function askTwice(id) {
  const { end_time: end } = (await segments(id)).at(-1);
  const path = `/api/v1/cameras/${id}/video.mp4?from=${rfc3339(time(end) - 5_000)}&to=${rfc3339(time(end) - 500)}`;
  const ask = async () => {
    const answer = await fetch(world.server.url + path);
    return { tag: answer.headers.get('etag'), bytes: Buffer.from(await answer.arrayBuffer()) };
  };
  const first = await ask();
  await until(async () => time((await segments(id)).at(-1).end_time) > time(end) + 2_500, 'more is recorded');
  return [first, await ask()];
}

/** A player asks for one range after another: bytes and tag must not change under it. */
export function judgeTwice([first, second]) {
  assert.equal(second.tag, first.tag);
  assert.ok(first.bytes.equals(second.bytes));
}

/** Camera, first and last picture of a window, and what it goes over. */
const WINDOWS = [
  ['yard', 61, 118, 'inside two groups of pictures'],
  ['yard', 140, 171, 'from one file to the next'],
  ['gate', 63, 121, 'B-frames and sound'],
  ['gate', 137, 290, 'B-frames over two files'],
  ['street', 60, 125, 'AAC'],
  ['lobby', 60, 190, 'Opus'],
  ['lobby', -60, 40, 'over the gap'],
];

for (const [id, begin, end, what] of WINDOWS) {
  test(`a clip of ${id} has its first and last picture exactly: ${what}`, async () => {
    const { pictures } = footage(id);
    const gap = pictures.findIndex((picture, index) => index > 0 && picture.start > pictures[index - 1].end + 1000);
    const [first, last] = begin < 0 ? [gap + begin, gap + end] : [begin, end];
    const wanted = pictures.slice(first, last + 1);
    // Inside the first and the last picture.
    const [from, to] = [wanted[0].start + 13, wanted.at(-1).start + 27];
    const path = `/api/v1/cameras/${id}/video.mp4?from=${rfc3339(from)}&to=${rfc3339(to)}`;
    const bytes = Buffer.from(await (await fetch(world.server.url + path)).arrayBuffer());
    const file = join(world.folder.path, 'video.mp4');
    writeFileSync(file, bytes);

    const { status, pictures: shown, troubles } = await presented(file, ['-xerror']);
    assert.deepEqual([status, troubles], [0, []]);
    assert.deepEqual(shown.map(({ number }) => number), wanted.map(({ number }) => number));

    const told = await page.evaluate(async (url) => {
      const screen = new Screen();
      await screen.file(url);
      await screen.settle();
      const start = screen.number();
      const played = await screen.play(2);
      screen.video.remove();
      return { start, ...played };
    }, path);
    assert.deepEqual([told.start, told.number], [wanted[0].number, wanted.at(-1).number]);
    const numbers = wanted.map(({ number }) => number);
    let at = 0;
    for (const [media, number] of told.frames) {
      at = numbers.indexOf(number, at);
      assert.ok(at >= 0, `picture ${number} at ${media}`);
    }
    const covered = (begin < 0 ? to - from - (pictures[gap].start - pictures[gap - 1].end) : to - from) / 1000;
    assert.ok(Math.abs(told.duration - covered) < 0.002, `${told.duration} s of ${covered}`);

    const probed = run('ffprobe', ['-v', 'error', '-show_entries', 'stream=codec_type,start_time,duration', '-of', 'json', file]);
    const streams = JSON.parse(probed.out).streams.map((stream) => ({ ...stream, end: Number(stream.start_time) + Number(stream.duration) }));
    const sound = footage(id).files[0].audio_codec;
    assert.deepEqual(streams.map((stream) => stream.codec_type), sound ? ['video', 'audio'] : ['video']);
    for (const { codec_type: kind, end } of streams) {
      // Sound ends with the pictures: never later, at most a frame earlier.
      assert.ok(end <= covered + 0.002 && end > covered - 0.022, `${kind} ends at ${end} of ${covered}`);
    }

    const clip = await world.server.post(`/api/v1/cameras/${id}/clip`, { from: rfc3339(from), to: rfc3339(to) });
    assert.equal(clip.sha256, createHash('sha256').update(bytes).digest('hex'), 'a clip is the same file');
  });
}
