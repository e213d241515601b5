import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backoff } from '../src/backoff.js';
import { describe as describeInit, firstPicture } from '../src/bmff.js';
import { ServerClock } from '../src/clock.js';
import { nameOf, withCodecs } from '../src/codecs.js';
import { Delay } from '../src/delay.js';
import { kindOf, sentence } from '../src/failure.js';
import { iceServers } from '../src/link.js';
import { described, noticeOf, seconds } from '../src/words.js';

test('back-off grows to a limit, by chance between half and all of it', () => {
  const all = new Backoff(() => 0);
  const waits = Array.from({ length: 8 }, () => all.next());
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
  const half = new Backoff(() => 1);
  assert.equal(half.next(), 250);
  half.next();
  half.reset();
  assert.equal(half.next(), 250);
});

test('the server clock: equal until proven otherwise, then narrowed by each answer', () => {
  let now = 1_000_400;
  const clock = new ServerClock(() => now);
  const date = (ms: number) => new Date(Math.floor(ms / 1000) * 1000).toUTCString();
  assert.equal(clock.offset, 0);
  clock.answered(date(now), now - 20, now);
  assert.equal(clock.offset, 0);
  // The server is 5.3 s ahead.
  const ahead = new ServerClock(() => now);
  for (let n = 0; n < 12; n += 1) {
    now += 1070;
    ahead.answered(date(now + 5300 - 10), now - 20, now);
  }
  assert.ok(Math.abs(ahead.offset - 5300) < 80, `${ahead.offset}`);
  assert.ok(ahead.uncertainty < 150, `${ahead.uncertainty}`);
  // Set back: what was known is void.
  now += 1000;
  ahead.answered(date(now), now - 20, now);
  assert.equal(ahead.offset, 0);
});

test('the server clock by reports of a sender, and by pictures from the future', () => {
  const clock = new ServerClock(() => 1_000_000);
  clock.heard(1_002_000, 1_000_000, 10);
  assert.ok(Math.abs(clock.offset - 2005) < 6);
  const other = new ServerClock(() => 1_000_000);
  other.passed(1_000_300);
  assert.equal(other.offset, 300);
  other.passed(999_000);
  assert.equal(other.offset, 300);
});

test('delays against the fastest picture, over the wrap of RTP times', () => {
  const delay = new Delay();
  const start = 2 ** 32 - 90_000;
  const seen = Array.from({ length: 50 }, (_, n) => delay.of((start + n * 3600) % 2 ** 32, 5000 + n * 40 + (n % 5 === 4 ? 30 : 0)));
  assert.deepEqual(seen.slice(20, 25).map(Math.round), [0, 0, 0, 0, 30]);
  assert.ok(seen.every((each) => each < 31));
});

test('ICE servers of a Link header', () => {
  const link = '<stun:stun.example.net>; rel="ice-server", <turn:turn.example.net?transport=udp>; rel="ice-server"; username="u;1"; credential="a\\"b"; credential-type="password", </x>; rel="next"';
  assert.deepEqual(iceServers(link), [
    { urls: 'stun:stun.example.net' },
    { urls: 'turn:turn.example.net?transport=udp', username: 'u;1', credential: 'a"b' },
  ]);
  assert.deepEqual(iceServers(''), []);
});

test('names of codings, and the list for the server', () => {
  for (const [codec, name] of [['avc1.64001f', 'H.264'], ['video/H264', 'H.264'], ['hvc1.1.6.L93.B0', 'H.265'], ['hevc', 'H.265'], ['av01.0.04M.08', 'AV1'], ['vp9', 'vp9']] as const) {
    assert.equal(nameOf(codec), name);
  }
  assert.equal(withCodecs('/live/ws/x?token=a', ['h264', 'hevc']), '/live/ws/x?token=a&codec=h264,hevc');
  assert.equal(withCodecs('/live/ws/x', ['h264']), '/live/ws/x?codec=h264');
});

test('what answers mean', () => {
  for (const [status, code, kind] of [
    [406, 'codec_not_playable', 'unplayable'],
    [401, 'unauthenticated', 'ended'],
    [403, 'forbidden', 'ended'],
    [404, 'not_found', 'ended'],
    [400, 'camera_disabled', 'unavailable'],
    [503, 'busy', 'unavailable'],
  ] as const) {
    assert.equal(kindOf(status, code), kind);
  }
  assert.equal(sentence('the camera is off'), 'The camera is off.');
});

test('words', () => {
  const facts = { live: true, transport: 'ws', codec: 'H.264', width: 640, height: 360, latency: 0.236, latencyIsEstimate: false } as const;
  assert.equal(described(facts), 'WebSocket · H.264 · 640 × 360 · 0.24 s');
  assert.equal(described({ ...facts, transport: 'whep', latencyIsEstimate: true }), 'WebRTC · H.264 · 640 × 360 · ≈ 0.24 s');
  assert.equal(described({ ...facts, latency: NaN }), 'WebSocket · H.264 · 640 × 360 · -');
  assert.equal(described({ ...facts, live: false, transport: null }), 'recorded · H.264 · 640 × 360');
  assert.equal(seconds(-0.01), '0.00 s');
  assert.equal(noticeOf('offline', 'The camera is off.', true), 'The camera is off. Trying again…');
  assert.equal(noticeOf('playing', '', true), '');
});

const box = (type: string, ...content: number[][]): number[] => {
  const bytes = content.flat();
  const size = bytes.length + 8;
  return [...u32(size), ...Array.from(type, (letter) => letter.charCodeAt(0)), ...bytes];
};
const u32 = (value: number) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
const zeros = (count: number) => new Array<number>(count).fill(0);

test('init segments and fragments', () => {
  const avcC = box('avcC', [1, 0x64, 0, 0x1f]);
  const avc1 = box('avc1', zeros(24), [2, 128, 1, 104], zeros(50), avcC);
  const stsd = box('stsd', zeros(4), u32(1), avc1);
  const hdlr = box('hdlr', zeros(8), u32(0x76696465));
  const mdhd = box('mdhd', zeros(12), u32(90_000), zeros(8));
  const tkhd = box('tkhd', zeros(12), u32(1), zeros(60));
  const trak = box('trak', tkhd, box('mdia', mdhd, hdlr, box('minf', box('stbl', stsd))));
  const opus = box('trak', box('mdia', box('hdlr', zeros(8), u32(0x736f756e)), box('minf', box('stbl', box('stsd', zeros(4), u32(1), box('Opus', zeros(28)))))));
  const init = Uint8Array.from([...box('ftyp', zeros(8)), ...box('moov', opus, trak)]);
  assert.deepEqual(describeInit(init), { picture: { id: 1, timescale: 90_000 }, width: 640, height: 360, codecs: ['avc1.64001f', 'opus'] });

  const tfhd = (id: number) => box('tfhd', zeros(4), u32(id));
  const trun = box('trun', u32(0x01000000 | 0xb01), u32(1), u32(0), u32(3600), u32(1000), u32(0xffffffff - 899));
  const traf = box('traf', tfhd(1), box('tfdt', [1, 0, 0, 0], u32(1), u32(90_000)), trun);
  const sound = box('traf', tfhd(2), box('tfdt', zeros(4), u32(7)));
  const fragment = Uint8Array.from([...box('moof', sound, traf), ...box('mdat', zeros(20))]);
  const track = { id: 1, timescale: 90_000 };
  assert.equal(firstPicture(fragment, track), (2 ** 32 + 90_000 - 900) / 90_000);
  // Damage gives nothing, and no exception.
  for (let length = 0; length < fragment.length; length += 1) firstPicture(fragment.subarray(0, length), track);
  for (let length = 0; length < init.length; length += 1) describeInit(init.subarray(0, length));
  assert.equal(firstPicture(fragment.subarray(0, 40), track), null);
});
