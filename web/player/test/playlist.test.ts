import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attributes, instantOf, parse } from '../src/playlist.js';

const LIVE = `#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:6
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6
#EXT-X-PART-INF:PART-TARGET=0.2
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-MAP:URI="init0.mp4?token=a"
#EXT-X-PROGRAM-DATE-TIME:2026-11-29T08:00:00.000250Z
#EXT-X-PART:DURATION=0.2,URI="7.0.m4s?token=a",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.2,URI="7.1.m4s?token=a"
#EXTINF:0.4,
7.m4s?token=a
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="init1.mp4?token=a"
#EXT-X-PROGRAM-DATE-TIME:2026-11-29T08:00:05Z
#EXT-X-PART:DURATION=0.2,URI="8.0.m4s?token=a",INDEPENDENT=YES
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="8.1.m4s?token=a"
`;

test('a live playlist: segments, parts, and the one that is being made', () => {
  const list = parse(LIVE, 'http://nvr:8000/live/hls/cam_gate/index.m3u8?token=a');
  assert.deepEqual([list.targetDuration, list.partTarget, list.holdBack, list.canBlock, list.ended], [6, 0.2, 0.6, true, false]);
  const [first, open] = list.segments;
  assert.equal(list.segments.length, 2);
  assert.equal(first!.sequence, 7);
  assert.equal(first!.resource!.uri, 'http://nvr:8000/live/hls/cam_gate/7.m4s?token=a');
  assert.equal(first!.init!.uri, 'http://nvr:8000/live/hls/cam_gate/init0.mp4?token=a');
  assert.deepEqual(first!.parts.map(({ independent }) => independent), [true, false]);
  assert.equal(first!.instant, Date.UTC(2026, 10, 29, 8) + 0.25);
  assert.deepEqual([open!.sequence, open!.resource, open!.duration, open!.discontinuity], [8, null, 0.2, true]);
});

test('a playlist of footage: byte ranges, holes, a start', () => {
  const text = `#EXTM3U
#EXT-X-START:TIME-OFFSET=1.5,PRECISE=YES
#EXT-X-MAP:URI="/media/a.mp4",BYTERANGE="700@0"
#EXT-X-PROGRAM-DATE-TIME:2026-11-29T08:00:00Z
#EXTINF:2,
#EXT-X-BYTERANGE:4000@700
/media/a.mp4?base=0
#EXTINF:2,
#EXT-X-BYTERANGE:300
/media/a.mp4?base=0
#EXT-X-DISCONTINUITY
#EXTINF:1,
/media/rest.m4s
#EXT-X-ENDLIST
`;
  const list = parse(text, 'http://nvr/media/playback/x/index.m3u8');
  assert.equal(list.start, 1.5);
  assert.ok(list.ended);
  assert.deepEqual(list.segments[0]!.init, { uri: 'http://nvr/media/a.mp4', range: { offset: 0, length: 700 } });
  assert.deepEqual(list.segments.map(({ resource }) => resource!.range), [{ offset: 700, length: 4000 }, { offset: 4700, length: 300 }, undefined]);
  assert.ok(Number.isNaN(list.segments[1]!.instant));
  assert.deepEqual(list.segments.map(({ discontinuity }) => discontinuity), [false, false, true]);
});

test('what is no playlist is refused', () => {
  assert.throws(() => parse('{"error":"no"}', 'http://nvr/'), /no playlist/);
});

test('attributes with commas in quotes', () => {
  assert.deepEqual([...attributes('A=1,B="x,y",C-D=YES')], [['A', '1'], ['B', 'x,y'], ['C-D', 'YES']]);
});

test('instants with microseconds and offsets', () => {
  assert.equal(instantOf('1970-01-01T00:00:01.000001Z'), 1000.001);
  assert.equal(instantOf('1970-01-01T01:00:00+01:00'), 0);
  assert.ok(Number.isNaN(instantOf('yesterday')));
});
