// Playback sessions as text and bytes: what the playlist promises, judged by m3u8-parser, ffprobe and ffmpeg.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Parser } from 'm3u8-parser';
import { packets, presented } from '../strip.mjs';
import { footage as footageOf, ids, session, time, world } from './world.mjs';

/** The playlist of a session over all footage of a camera, as text and as m3u8-parser reads it. */
async function parsed(id) {
  const footage = footageOf(id);
  const { playlist_url: path } = await session(id, footage.start, footage.end);
  const url = world.server.url + path;
  const answer = await fetch(url);
  assert.match(answer.headers.get('content-type'), /^application\/vnd\.apple\.mpegurl/);
  const text = await answer.text();
  const parser = new Parser();
  const complaints = [];
  for (const kind of ['warn', 'error']) parser.on(kind, ({ message }) => complaints.push(`${kind}: ${message}`));
  parser.push(text);
  parser.end();
  assert.deepEqual(complaints, []);
  return { url, text, footage, manifest: parser.manifest };
}

for (const id of ids) {
  test(`the playlist of ${id} keeps the rules of HLS`, async () => {
    const { footage, manifest } = await parsed(id);
    assert.equal(manifest.endList, true);
    assert.equal(manifest.playlistType, 'VOD');
    assert.ok(manifest.segments.length >= 10, `${manifest.segments.length} segments`);
    const sizes = new Map();
    let before;
    for (const segment of manifest.segments) {
      // RFC 8216 4.3.3.1: no segment, rounded to the nearest second, lasts longer.
      assert.ok(Math.round(segment.duration) <= manifest.targetDuration, `${segment.duration}`);
      const file = footage.files.find(({ url }) => segment.uri.startsWith(`${url}?base=`));
      assert.ok(file, segment.uri);
      assert.ok(segment.map && segment.uri === segment.map.uri && segment.map.byterange.offset === 0, 'the map is that of the file');
      if (!sizes.has(file.url)) {
        const head = await fetch(world.server.url + file.url, { method: 'HEAD' });
        sizes.set(file.url, Number(head.headers.get('content-length')));
        assert.equal(sizes.get(file.url), file.size_bytes);
      }
      const { offset, length } = segment.byterange;
      assert.ok(offset >= segment.map.byterange.length && offset + length <= sizes.get(file.url), `${offset}+${length} in ${segment.uri}`);
      const start = segment.dateTimeObject.getTime();
      if (before) {
        const joins = Math.abs(start - before.end) < 200;
        const alike = ['codec_string', 'width', 'height', 'audio_codec'].every((key) => file[key] === before.file[key]);
        assert.equal(segment.discontinuity === true, !(joins && alike), `${segment.uri} after ${before.file.url}`);
        // A camera may leave out a picture or two where one file ends; that is no discontinuity.
        const adjoin = before.file === file || Math.abs(file.start - before.file.end) < 2;
        if (joins && adjoin) assert.ok(Math.abs(start - before.end) <= 2, `dates and lengths agree: ${start} ${before.end}`);
        if (before.file === file) assert.equal(offset, before.offset + before.length, 'ranges adjoin');
      }
      before = { end: start + segment.duration * 1000, file, offset, length };
    }
    const first = manifest.segments[0].dateTimeObject.getTime();
    assert.ok(Math.abs(first - footage.start) <= 1 && Math.abs(before.end - footage.end) <= 2, 'all footage is there');
  });

  test(`every segment of ${id} begins where the one before it ends`, async () => {
    const { manifest, footage } = await parsed(id);
    const origin = footage.start;
    for (const { uri, byterange, duration, dateTimeObject } of manifest.segments) {
      const last = byterange.offset + byterange.length - 1;
      const answer = await fetch(world.server.url + uri, { headers: { range: `bytes=${byterange.offset}-${last}` } });
      assert.equal(answer.status, 206);
      const bytes = Buffer.from(await answer.arrayBuffer());
      assert.equal(bytes.length, byterange.length);
      const tracks = decodeTimes(bytes);
      const expect = (dateTimeObject.getTime() - origin) / 1000;
      // The first track is video, in 1/90000 s; dates are cut to milliseconds.
      assert.ok(Math.abs(tracks[0][0] / 90_000 - expect) < 0.002, `${uri}: ${tracks[0][0] / 90_000} ${expect}`);
      for (const times of tracks) assert.ok(times.every((at, index) => index === 0 || at > times[index - 1]), `${times}`);
      assert.ok(tracks[0].at(-1) / 90_000 < expect + duration, 'the last fragment begins inside');
    }
  });
}

/** Decode times of the fragments in bytes that are whole `moof` and `mdat` boxes, by track in order of their ids. */
function decodeTimes(bytes) {
  const tracks = [];
  const walk = (from, to, inside) => {
    for (let at = from; at < to; ) {
      const size = bytes.readUInt32BE(at);
      const kind = bytes.toString('latin1', at + 4, at + 8);
      if (inside === '') assert.ok(kind === 'moof' || kind === 'mdat', kind);
      if (kind === 'moof' || kind === 'traf') walk(at + 8, at + size, kind);
      if (kind === 'tfhd') tracks.current = bytes.readUInt32BE(at + 12) - 1;
      if (kind === 'tfdt') {
        const long = bytes[at + 8] === 1;
        (tracks[tracks.current] ??= []).push(long ? Number(bytes.readBigUInt64BE(at + 12)) : bytes.readUInt32BE(at + 12));
      }
      at += size;
    }
  };
  walk(0, bytes.length, '');
  return tracks;
}

// ffmpeg's reader passes over the second `moov` after a change of size or codec: that is left to hls.js.
for (const id of ['lobby', 'gate']) {
  test(`ffmpeg and ffprobe read all of ${id} over its gap`, async () => {
    const { url, footage } = await parsed(id);
    const { status, pictures, troubles } = await presented(url, ['-xerror']);
    // Each file brings its `moov`; ffmpeg says so when it passes over the second one.
    assert.deepEqual([status, troubles.filter((line) => !line.includes('Found duplicated MOOV'))], [0, []]);
    assert.deepEqual(pictures.map(({ number }) => number), footage.pictures.map(({ number }) => number));
    for (const kind of ['v', 'a']) {
      const read = await packets(url, kind);
      assert.deepEqual(read.troubles, []);
      const dts = read.packets.map((packet) => packet.dts);
      assert.ok(dts.every((at, index) => index === 0 || at > dts[index - 1]), 'decode times rise');
      const files = await Promise.all(footage.files.map(({ file }) => packets(file, kind)));
      assert.equal(dts.length, files.reduce((sum, file) => sum + file.packets.length, 0), `packets ${kind}`);
    }
    // Times follow the wall clock, the gap included. ffmpeg puts pictures off by the longest reordering that it has met.
    const reordering = id === 'gate' ? 45 : 0;
    const origin = pictures[0].time;
    pictures.forEach(({ time: at }, index) => {
      const late = (at - origin) * 1000 - (footage.pictures[index].start - footage.pictures[0].start);
      assert.ok(late > -2 && late < reordering + 2, `picture ${index} is ${late} ms late`);
    });
  });
}

test('a session that is asked for again is the same', async () => {
  const { text, footage } = await parsed('street');
  const again = await parsed('street');
  assert.equal(again.text, text);
  const { gaps, from } = await session('street', footage.start, footage.end);
  assert.equal(time(from), footage.start);
  assert.deepEqual(gaps.map(({ cause }) => cause), ['closed', 'server_crashed']);
  for (const { from: began, to } of gaps) {
    assert.ok(Math.abs(time(to) - footage.files.find((file) => file.start > time(began)).start) < 1);
  }
});
