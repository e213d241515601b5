// Playback of recorded footage, judged by ffmpeg, ffprobe, m3u8-parser, hls.js and Chromium. The footage is recorded once;
// the tests that look at it are in the folder beside this file, one for each way of looking.
import { after, before, test } from 'node:test';
import { askTwice, judgeTwice, openPage } from './playback/clips.mjs';
import { judgeWhileRecorded, playWhileRecorded } from './playback/hls.mjs';
import { endWorld, record } from './playback/world.mjs';
import './playback/playlist.mjs';

const live = {};

// One after another, in one place: the runner does not wait with one hook of a file for the other.
before(async () => {
  await record(async () => {
    const playing = ['lobby', 'yard'].map(async (id) => {
      live[id] = await playWhileRecorded(id);
    });
    const asking = askTwice('gate').then((answers) => {
      live.answers = answers;
    });
    await Promise.all([...playing, asking]);
  });
  await openPage();
});

after(endWorld);

for (const id of ['lobby', 'yard']) {
  test(`hls.js plays ${id} while it is recorded, over the ends of open segments`, () => judgeWhileRecorded(id, live[id]));
}

test('a window stays the same file while more is recorded', () => judgeTwice(live.answers));
