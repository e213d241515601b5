// The rules of a low-latency live playlist (RFC 8216, its second edition), looked at while it grows.
import assert from 'node:assert/strict';
import { Parser } from 'm3u8-parser';

function parse(text) {
  const parser = new Parser();
  const complaints = [];
  for (const kind of ['warn', 'error']) parser.on(kind, ({ message }) => complaints.push(`${kind}: ${message}`));
  parser.push(text);
  parser.end();
  assert.deepEqual(complaints, [], text);
  return parser.manifest;
}

async function body(url) {
  const answer = await fetch(url);
  assert.equal(answer.status, 200, `${url}: ${answer.status}`);
  return Buffer.from(await answer.arrayBuffer());
}

/** The next load that a player would make: what comes after the last part. */
function next({ mediaSequence, segments, preloadSegment }) {
  const msn = mediaSequence + segments.length;
  return { msn, part: preloadSegment?.parts?.length ?? 0 };
}

/** Follows a playlist for so many seconds, and judges every version of it against the ones before. */
export async function judgePlaylist(url, seconds) {
  const at = (file) => new URL(file, url);
  const load = async (query) => {
    const asked = new URL(url);
    for (const [key, value] of Object.entries(query)) asked.searchParams.set(key, value);
    const answer = await fetch(asked);
    const text = await answer.text();
    assert.equal(answer.status, 200, text);
    assert.match(answer.headers.get('content-type'), /^application\/vnd\.apple\.mpegurl/);
    assert.equal(answer.headers.get('cache-control'), 'no-store');
    return { text, manifest: parse(text) };
  };

  const first = await load({});
  const { partTargetDuration: target, serverControl: control, targetDuration } = first.manifest;
  assert.equal(targetDuration, 6);
  assert.equal(control.canBlockReload, true);
  // 25 pictures per second: five of them.
  assert.equal(target, 0.2);
  assert.ok(control.partHoldBack >= 3 * target - 1e-6);

  const known = new Map();
  const arrivals = [];
  let { manifest, text } = first;
  const end = Date.now() + seconds * 1000;
  while (Date.now() < end) {
    judge(manifest, text, target, known);
    const { msn, part } = next(manifest);
    const asked = Date.now();
    ({ manifest, text } = await load({ _HLS_msn: msn, _HLS_part: part }));
    arrivals.push(Date.now() - asked);
    const now = next(manifest);
    assert.ok(now.msn > msn || now.part > part, 'a blocking load brings the part it waited for');
  }
  const longest = Math.max(...arrivals);
  assert.ok(longest < 3000, `${longest} ms until the next part`);
  assert.ok(arrivals.length > seconds, `${arrivals.length} loads in ${seconds} s`);

  await judgeBytes(manifest, at);
  const { msn } = next(manifest);
  const far = new URL(url);
  far.searchParams.set('_HLS_msn', `${msn + 5}`);
  const refused = await fetch(far);
  assert.deepEqual([refused.status, (await refused.json()).code], [400, 'bad_query']);
  const lone = new URL(url);
  lone.searchParams.set('_HLS_part', '1');
  assert.equal((await fetch(lone)).status, 400);
}

/** One version of the playlist: what it says of itself, and that nothing it said before has changed. */
function judge(manifest, text, target, known) {
  assert.equal(manifest.targetDuration, 6, 'the target duration never changes');
  assert.ok(text.includes('#EXT-X-PRELOAD-HINT:TYPE=PART'), text);
  let expected = null;
  for (const [index, segment] of manifest.segments.entries()) {
    assert.ok(segment.duration <= 6.5, `${segment.duration}`);
    const start = segment.dateTimeObject.getTime();
    if (expected !== null && !segment.discontinuity) assert.ok(Math.abs(start - expected) < 60, `${start - expected} ms between segments`);
    expected = start + segment.duration * 1000;
    const number = manifest.mediaSequence + index;
    const said = JSON.stringify([segment.uri, segment.duration, segment.dateTimeString, segment.map.uri]);
    assert.equal(known.get(number) ?? said, said, 'what was listed stays as it was');
    known.set(number, said);
    const parts = segment.parts ?? [];
    for (const [place, part] of parts.entries()) {
      assert.ok(part.duration <= target + 1e-3, `a part of ${part.duration} s`);
      // Second edition, 4.4.4.9: 85 % of the target but for the last.
      assert.ok(place === parts.length - 1 || part.duration >= 0.85 * target - 1e-3, `a part of ${part.duration} s`);
    }
    if (parts.length > 0) {
      assert.equal(parts[0].independent, true, 'a segment begins with a sync sample');
      const sum = parts.reduce((sum, part) => sum + part.duration, 0);
      assert.ok(Math.abs(sum - segment.duration) < 0.01, `${sum} s in parts of ${segment.duration} s`);
    }
  }
  const listed = manifest.segments.reduce((sum, { duration }) => sum + duration, 0);
  // RFC 8216 6.2.2: no less than three target durations, once there is as much.
  if (manifest.mediaSequence > Math.min(...known.keys())) assert.ok(listed >= 18, `${listed} s`);
  const withParts = manifest.segments.slice(-2).every(({ parts }) => parts?.length > 0);
  assert.ok(withParts, 'the newest segments list their parts');
}

/** The parts of a segment are its bytes, and what is hinted at can be asked for before it exists. */
async function judgeBytes(manifest, at) {
  const segment = manifest.segments.at(-1);
  const parts = [];
  for (const { uri } of segment.parts) parts.push(await body(at(uri)));
  assert.ok(Buffer.concat(parts).equals(await body(at(segment.uri))), 'the parts are the segment');
  const init = await body(at(segment.map.uri));
  assert.equal(init.subarray(4, 8).toString(), 'ftyp');
  const hint = manifest.preloadSegment?.preloadHints?.find(({ type }) => type === 'PART');
  assert.ok((await body(at(hint.uri))).length > 0);
}
