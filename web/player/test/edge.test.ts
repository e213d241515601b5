import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Edge } from '../src/edge.js';

/** Lives through pictures of a camera: `delay(n)` is how late the nth arrives, in seconds. Gives the lags that were seen. */
function live(seconds: number, options: { fps?: number; from?: number; delay?: (n: number) => number } = {}) {
  const { fps = 25, from = 0, delay = () => 0 } = options;
  const edge = new Edge({ least: 0.15, most: 1 });
  let time = from;
  let jumps = 0;
  let dry = 0;
  const lags: number[] = [];
  let end = 0;
  let rate = 1;
  let arrived = 0;
  for (let ms = 0; ms < seconds * 1000; ms += 10) {
    const now = ms / 1000;
    while ((arrived + 1) / fps + delay(arrived) <= now) {
      arrived += 1;
      end = arrived / fps;
      edge.arrived(ms, end);
    }
    if (!end) continue;
    const order = edge.order(ms, time, 0, end);
    if (order.jump !== undefined) {
      time = order.jump;
      jumps += 1;
    }
    rate = order.rate;
    const next = time + 0.01 * rate;
    if (next > end) {
      if (time < end) {
        edge.ranDry(ms);
        dry += 1;
      }
      time = end;
    } else {
      time = next;
    }
    lags.push(end - time);
  }
  return { lags, jumps, dry, rate, aim: edge.aim(seconds * 1000) };
}

const last = (lags: number[]) => lags.slice(-100);

test('a steady camera is watched at the least distance', () => {
  const { lags, dry, aim } = live(30);
  assert.equal(aim, 0.15);
  assert.equal(dry, 0);
  assert.ok(Math.max(...last(lags)) < 0.25, `${Math.max(...last(lags))}`);
});

test('a slow camera has more distance: a picture must not be waited for', () => {
  const { aim, lags } = live(30, { fps: 5 });
  assert.ok(aim > 0.2 && aim < 0.35, `${aim}`);
  assert.ok(Math.min(...last(lags)) > 0.01);
});

test('unsteady arrival costs distance, and only as long as it lasts', () => {
  const uneven = (n: number) => (n < 500 && n % 10 === 0 ? 0.3 : 0);
  assert.ok(live(15, { delay: uneven }).aim > 0.35);
  assert.ok(live(60, { delay: uneven }).aim < 0.25);
});

test('small arrears are made up for by speed, large ones by a jump', () => {
  const edge = new Edge({ least: 0.15, most: 1 });
  for (let n = 1; n <= 75; n += 1) edge.arrived(n * 40, n / 25);
  assert.deepEqual(edge.order(3000, 2.8, 0, 3), { rate: 1 });
  const behind = new Edge({ least: 0.15, most: 1 });
  for (let n = 1; n <= 75; n += 1) behind.arrived(n * 40, n / 25);
  assert.equal(behind.order(3000, 2.2, 0, 3).rate, 1.05);
  assert.deepEqual(behind.order(3000, 1, 0, 3), { rate: 1, jump: 2.85 });
});

test('what was kept is passed in fast motion at first, slower and slower', () => {
  const edge = new Edge({ least: 0.15, most: 1 });
  edge.arrived(0, 1.35);
  assert.ok(Math.abs(edge.order(0, 0, 0, 1.35).rate - 7) < 1e-9);
  assert.ok(Math.abs(edge.order(150, 1, 0, 1.35).rate - 2) < 1e-9);
  assert.deepEqual(edge.order(300, 1.2, 0, 1.35), { rate: 1 });
});

test('what was kept begins where it begins; where it is long, near its end', () => {
  const edge = new Edge({ least: 0.15, most: 1 });
  edge.arrived(0, 52);
  assert.deepEqual(edge.order(0, 0, 50, 52), { rate: 1, jump: 50 });
  const long = new Edge({ least: 0.15, most: 1 });
  long.arrived(0, 52);
  assert.deepEqual(long.order(0, 0, 42, 52), { rate: 1, jump: 51.85 });
});

test('what was kept arrives at once, which is not unsteady', () => {
  const edge = new Edge({ least: 0.15, most: 1 });
  for (let n = 1; n <= 45; n += 1) edge.arrived(n, n / 25);
  for (let n = 46; n <= 60; n += 1) edge.arrived((n - 45) * 40 + 20, n / 25);
  assert.equal(edge.aim(700), 0.15);
});

test('a hole is jumped over, to no earlier than where it ends', () => {
  const edge = new Edge({ least: 0.15, most: 1 });
  edge.arrived(0, 5);
  edge.arrived(20_000, 20.04);
  assert.deepEqual(edge.order(20_000, 5, 20, 20.04), { rate: 1, jump: 20 });
  // Where it is already there is nothing to jump for.
  assert.deepEqual(edge.order(20_010, 20, 20, 20.04).jump, undefined);
});

test('running dry makes careful for a while', () => {
  const edge = new Edge({ least: 0.15, most: 1 });
  edge.arrived(0, 1);
  for (let n = 0; n < 5; n += 1) edge.ranDry(1000);
  assert.ok(edge.aim(1000) > 0.3);
  assert.equal(edge.aim(200_000), 0.15);
});
