// Tests of the page's modules that know no page: times, words, coverage and the map of a file.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

/** A module of the page; it is one by the way it is loaded, which its name does not tell Node. */
async function load(name) {
  const text = await readFile(new URL(`../../web/${name}`, import.meta.url), 'utf8');
  return import(`data:text/javascript,${encodeURIComponent(text)}`);
}

const time = await load('time.js');
const words = await load('words.js');
const { MediaMap, at, gapNear } = await load('footage.js');

test('instants keep their microseconds both ways', () => {
  for (const text of ['2026-11-23T23:41:50.274066Z', '1970-01-01T00:00:00.000000Z', '2026-02-28T23:59:59.999999Z']) {
    assert.equal(time.iso(time.parse(text)), text);
  }
  assert.equal(time.parse('2026-11-23T23:41:50Z'), Date.UTC(2026, 10, 23, 23, 41, 50));
  assert.equal(time.parse('2026-11-24T01:41:50.5+02:00'), Date.UTC(2026, 10, 23, 23, 41, 50, 500));
  for (const wrong of ['', undefined, null, 'yesterday', '2026-11-23', '2026-11-23T23:41:50']) {
    assert.ok(Number.isNaN(time.parse(wrong)), `${wrong}`);
  }
});

test('people see their own zone', () => {
  const noon = Date.UTC(2026, 10, 23, 12, 0, 0, 480);
  assert.equal(time.clock(noon), '17:30:00');
  assert.equal(time.clock(noon, { tenths: true }), '17:30:00.4');
  assert.equal(time.when(noon, noon + 1000), '17:30:00');
  assert.match(time.when(noon, noon + 86_400_000), /23.* 17:30:00$/);
  assert.equal(time.fromField(time.toField(noon)), noon - 480);
  assert.ok(Number.isNaN(time.fromField('')));
});

test('lengths of time', () => {
  const cases = [[0, '0 s'], [0.04, '0 s'], [2.345, '2.3 s'], [9.96, '10 s'], [59.4, '59 s'], [59.6, '1 min'], [124, '2 min 4 s'],
    [3600, '1 h'], [11_400, '3 h 10 min'], [86_400, '1 d'], [187_200, '2 d 4 h'], [-1, '0 s']];
  for (const [seconds, expect] of cases) assert.equal(time.span(seconds), expect);
});

test('figures', () => {
  assert.deepEqual([0, 999, 1000, 34_123_456, 12.4e9, 2e15].map(words.bytes), ['0 B', '999 B', '1.0 kB', '34 MB', '12 GB', '2000 TB']);
  assert.deepEqual([64.2, 2512.4].map(words.bitrate), ['64 kbit/s', '2.5 Mbit/s']);
  assert.equal(words.cause('a_cause_of_later'), 'a_cause_of_later');
});

const coverage = {
  ranges: [{ start: 0, end: 100 }, { start: 120, end: 200 }],
  gaps: [{ start: 100, end: 120, cause: 'refused' }, { start: 200, end: 201, cause: 'closed' }],
};

test('what an instant is', () => {
  const kinds = [-1, 0, 99, 100, 119, 120, 199, 200, 201].map((instant) => at(coverage, instant).kind);
  const [r, m, i] = ['recorded', 'missing', 'idle'];
  assert.deepEqual(kinds, [i, r, r, m, m, r, r, m, i]);
  assert.equal(at(coverage, 110).cause, 'refused');
});

test('a thin gap can be pointed at', () => {
  assert.equal(gapNear(coverage, 203, 3)?.cause, 'closed');
  assert.equal(gapNear(coverage, 205, 3), null);
  assert.equal(gapNear(coverage, 97, 3), null);
  assert.equal(gapNear(coverage, 98, 3)?.cause, 'refused');
});

// 10 s of footage, a hole of 5 s, 20 s of it, then other pictures without a hole.
const parts = [
  { media: 0, start: 1_000_000, end: 1_010_000, codec: 'a' },
  { media: 10, start: 1_015_000, end: 1_035_000, codec: 'a' },
  { media: 30, start: 1_035_000, end: 1_040_000, codec: 'b' },
];
const map = new MediaMap(parts);

test('media time to wall time', () => {
  const cases = [[0, 1_000_000], [4, 1_004_000], [9.999, 1_009_999], [10, 1_015_000], [12.5, 1_017_500], [30, 1_035_000],
    [35, 1_040_000], [36, 1_040_000], [-1, 1_000_000]];
  for (const [media, wall] of cases) assert.equal(map.wallOf(media), wall, `${media}`);
});

test('wall time to media time', () => {
  const cases = [
    [1_000_000, 1, 0], [1_004_000, 1, 4], [1_015_000, 1, 10], [1_039_000, 1, 34],
    // In the hole: on to where it goes on, back to two seconds before it broke off.
    [1_012_000, 1, 10], [1_012_000, -1, 8],
    // Outside: the first picture or nothing, nothing or the last two seconds.
    [999_000, 1, 0], [999_000, -1, null], [1_040_000, 1, null], [1_041_000, -1, 33],
  ];
  for (const [wall, direction, media] of cases) assert.equal(map.mediaOf(wall, direction), media, `${wall} ${direction}`);
});

test('both maps agree wherever there is footage', () => {
  for (let media = 0; media < 35; media += 0.37) {
    const back = map.mediaOf(map.wallOf(media));
    assert.ok(Math.abs(back - media) < 1e-6, `${media} became ${back}`);
  }
});

test('a map shows and spans', () => {
  assert.deepEqual([999_999, 1_000_000, 1_012_000, 1_039_999, 1_040_000].map((wall) => map.spans(wall)), [false, true, true, true, false]);
  assert.equal(new MediaMap([]).spans(0), false);
});

test('what lies behind an instant is left out', () => {
  const ends = [1_040_000, 1_038_000, 1_035_000, 1_012_000, 1_000_000].map((instant) => map.until(instant).parts.map((part) => part.end));
  assert.deepEqual(ends, [[1_010_000, 1_035_000, 1_040_000], [1_010_000, 1_035_000, 1_038_000], [1_010_000, 1_035_000], [1_010_000], []]);
});

test('one decoder is given pictures of one kind', () => {
  const first = map.alike(1_001_000);
  assert.deepEqual([first.start, first.end, first.parts.length], [1_000_000, 1_035_000, 2]);
  const second = map.alike(1_036_000);
  assert.deepEqual([second.start, second.end, second.wallOf(1)], [1_035_000, 1_040_000, 1_036_000]);
  assert.equal(map.alike(1_012_000).start, 1_000_000);
  assert.equal(map.alike(9_999_999).start, 1_035_000);
});
