import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backoff } from '../src/backoff.js';
import { Failure } from '../src/failure.js';
import type { FailureKind } from '../src/failure.js';
import { LiveMachine } from '../src/machine.js';
import type { TransportName } from '../src/types.js';

const WAYS: TransportName[] = ['whep', 'ws', 'hls'];
const urls = { type: 'urls', ready: true, description: 'h264 640x360' } as const;
const failed = (kind: FailureKind, message = 'no', code = '') => ({ type: 'failed', failure: new Failure(kind, message, code) }) as const;

function machine(ways = WAYS) {
  const made = new LiveMachine(ways, new Backoff(() => 0));
  assert.deepEqual(made.handle({ type: 'start' }, 0), { do: 'ask' });
  return made;
}

/** A machine that plays by its first way. */
function playing(ways = WAYS) {
  const made = machine(ways);
  made.handle(urls, 0);
  made.handle({ type: 'opened' }, 100);
  assert.equal(made.state, 'playing');
  return made;
}

test('ways are tried in order, each once in a round', () => {
  const made = machine();
  assert.deepEqual(made.handle(urls, 0), { do: 'open', transport: 'whep', patience: 3000 });
  assert.deepEqual(made.handle(failed('unplayable', 'The camera sends H.265.', 'codec_not_playable'), 10), { do: 'open', transport: 'ws', patience: 6000 });
  assert.deepEqual(made.handle({ type: 'late' }, 6010), { do: 'open', transport: 'hls', patience: 10_000 });
  assert.deepEqual(made.handle(failed('unusable'), 7000), { do: 'wait', ms: 500 });
  // What says most about it is said.
  assert.deepEqual([made.state, made.reason], ['offline', 'The camera sends H.265.']);
  assert.deepEqual(made.handle({ type: 'due' }, 7500), { do: 'ask' });
  assert.equal(made.state, 'offline', 'no flicker while it is tried again');
  assert.deepEqual(made.handle(urls, 7600), { do: 'open', transport: 'whep', patience: 3000 });
});

test('a way that does not carry these pictures is the last to be tried', () => {
  const made = machine();
  assert.deepEqual(made.handle({ ...urls, unfit: ['whep'] }, 0), { do: 'open', transport: 'ws', patience: 6000 });
  assert.deepEqual(made.handle(failed('unusable'), 10), { do: 'open', transport: 'hls', patience: 10_000 });
  assert.deepEqual(made.handle(failed('unusable'), 20), { do: 'open', transport: 'whep', patience: 3000 });
});

test('what worked is tried first again, with an address of its own', () => {
  const made = machine();
  made.handle(urls, 0);
  made.handle(failed('unusable'), 10);
  made.handle({ type: 'opened' }, 100);
  assert.equal(made.transport, 'ws');
  assert.deepEqual(made.handle(failed('lost', 'The connection was lost.'), 5000), { do: 'wait', ms: 500 });
  assert.deepEqual([made.state, made.reason], ['connecting', 'The connection was lost.']);
  assert.deepEqual(made.handle({ type: 'due' }, 5500), { do: 'ask' });
  assert.deepEqual(made.handle(urls, 5600), { do: 'open', transport: 'ws', patience: 6000 });
});

test('a camera that is not there blames no way, and is asked for often at first', () => {
  const made = machine();
  const absent = { ...urls, ready: false };
  assert.deepEqual(made.handle(absent, 0), { do: 'wait', ms: 100 });
  assert.equal(made.state, 'connecting');
  made.handle({ type: 'due' }, 100);
  assert.deepEqual(made.handle(absent, 2600), { do: 'wait', ms: 650 });
  made.handle({ type: 'due' }, 3250);
  assert.deepEqual(made.handle(absent, 8000), { do: 'wait', ms: 2000 });
  assert.deepEqual([made.state, made.reason], ['offline', 'The camera sends no pictures.']);
  made.handle({ type: 'due' }, 10_000);
  assert.deepEqual(made.handle(urls, 10_010), { do: 'open', transport: 'whep', patience: 3000 });
});

test('stalls are told and end, without a new connection', () => {
  const made = playing();
  assert.deepEqual(made.handle({ type: 'stalled', reason: '' }, 200), { do: 'keep' });
  assert.deepEqual([made.state, made.transport], ['stalled', 'whep']);
  assert.deepEqual(made.handle({ type: 'resumed' }, 300), { do: 'keep' });
  assert.equal(made.state, 'playing');
});

test('the end of the right to watch is the end', () => {
  const made = playing();
  assert.deepEqual(made.handle(failed('ended', 'ended by an operator'), 200), { do: 'rest' });
  assert.deepEqual([made.state, made.reason], ['ended', 'ended by an operator']);
  const refused = machine();
  assert.deepEqual(refused.handle({ type: 'refused', failure: new Failure('ended', 'forbidden') }, 0), { do: 'rest' });
});

test('a server that took leave is asked once whether it meant it', () => {
  const leave = failed('lost', 'The server ended this live view.', 'closed_by_server');
  const made = playing();
  assert.deepEqual(made.handle(leave, 200), { do: 'wait', ms: 700 });
  made.handle({ type: 'due' }, 900);
  assert.deepEqual(made.handle(urls, 910), { do: 'rest' });
  assert.equal(made.state, 'ended');
  // It was restarted.
  const restarted = playing();
  restarted.handle(leave, 200);
  restarted.handle({ type: 'due' }, 900);
  assert.equal(restarted.handle({ type: 'refused', failure: new Failure('unavailable', 'away') }, 910).do, 'wait');
  restarted.handle({ type: 'due' }, 2000);
  assert.equal(restarted.handle(urls, 2010).do, 'open');
  // The camera sends something else now.
  const changed = playing();
  changed.handle(leave, 200);
  changed.handle({ type: 'due' }, 900);
  assert.equal(changed.handle({ ...urls, description: 'hevc 640x360' }, 910).do, 'open');
});

test('waits grow while it fails and are short again after it has played', () => {
  const made = playing(['ws']);
  const again = (at: number) => {
    made.handle({ type: 'due' }, at);
    made.handle(urls, at);
    made.handle({ type: 'opened' }, at);
  };
  assert.deepEqual(made.handle(failed('lost'), 200), { do: 'wait', ms: 500 });
  again(1000);
  assert.deepEqual(made.handle(failed('lost'), 1100), { do: 'wait', ms: 1000 });
  again(3000);
  assert.deepEqual(made.handle(failed('lost'), 20_000), { do: 'wait', ms: 500 });
});

test('a way is opened before the camera sends, once, and nothing is blamed on it', () => {
  const absent = { ...urls, ready: false, description: ' 0x0', mayWait: true } as const;
  const early = { do: 'open', transport: 'whep', patience: 5500, early: true };
  const made = machine();
  assert.deepEqual(made.handle(absent, 0), early);
  assert.equal(made.state, 'connecting');
  assert.deepEqual(made.handle({ type: 'late' }, 5500), { do: 'wait', ms: 1375 });
  assert.deepEqual([made.state, made.transport], ['offline', null]);
  made.handle({ type: 'due' }, 6000);
  assert.equal(made.handle(absent, 6100).do, 'wait', 'not again');
  made.handle({ type: 'due' }, 7000);
  assert.deepEqual(made.handle(urls, 7100), { do: 'open', transport: 'whep', patience: 3000 }, 'it was not its fault');

  const refused = machine();
  refused.handle(absent, 0);
  assert.deepEqual(refused.handle(failed('unavailable', 'busy'), 900), { do: 'wait', ms: 100 });

  // What the camera sends turns out not to be for this way.
  const unfit = machine();
  unfit.handle(absent, 0);
  assert.deepEqual(unfit.handle(failed('unplayable', 'B-frames', 'codec_not_playable'), 900), { do: 'ask' });
  assert.deepEqual(unfit.handle(urls, 950), { do: 'open', transport: 'ws', patience: 6000 });

  // Not where others are held already, nor over a way that nobody holds.
  assert.equal(machine().handle({ ...absent, mayWait: false }, 0).do, 'wait');
  assert.equal(machine(['hls']).handle(absent, 0).do, 'wait');
});

test('what was opened early and is ended by the server stays ended', () => {
  const made = machine();
  made.handle({ ...urls, ready: false, description: ' 0x0', mayWait: true }, 0);
  made.handle({ type: 'opened' }, 900);
  assert.equal(made.state, 'playing');
  assert.deepEqual(made.handle({ type: 'described', description: urls.description }, 1000), { do: 'keep' });
  made.handle(failed('lost', 'The server ended this live view.', 'closed_by_server'), 9000);
  made.handle({ type: 'due' }, 9700);
  assert.deepEqual(made.handle(urls, 9750), { do: 'rest' });
  assert.equal(made.state, 'ended');
});
