// The number that test cameras burn into each picture of their scene, read from pixels.
//
// The strip is a row of square blocks, a fortieth of the picture's width each: white, black, 16 bits of number, 8 bits of
// CRC. One row of forty mean levels is all that is needed of a picture.
import { spawn } from 'node:child_process';

/** The number in forty levels; -1 where there is none. Also runs inside pages, so it needs nothing from outside. */
export function numberOf(levels) {
  const [white, black] = [levels[1], levels[2]];
  if (!(white > black + 60)) return -1;
  let code = 0;
  for (let bit = 0; bit < 24; bit += 1) code = (code << 1) | (levels[3 + bit] > (white + black) / 2 ? 1 : 0);
  let crc = 0x5a;
  for (const byte of [(code >> 16) & 255, (code >> 8) & 255]) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = ((crc << 1) ^ (crc & 0x80 ? 0x07 : 0)) & 255;
  }
  return crc === (code & 255) ? code >> 8 : -1;
}

const STRIP = 'format=gray,crop=iw:iw/100:0:iw*13/400,scale=40:1:flags=area,showinfo';

/**
 * What ffmpeg presents of a file or playlist: `pictures` with number and time in seconds, `troubles` with every line that it
 * logged as a warning or worse.
 */
export async function presented(input, options = []) {
  const args = ['-hide_banner', '-nostdin', '-nostats', '-loglevel', 'level+info', ...options, '-i', input];
  args.push('-map', '0:v:0', '-fps_mode', 'passthrough', '-enc_time_base', '-1', '-vf', STRIP, '-pix_fmt', 'gray', '-f', 'rawvideo', '-');
  const { status, out, err } = await collect('ffmpeg', args);
  const text = err.toString();
  const times = [...text.matchAll(/\] n: *\d+ pts: *-?\d+ pts_time:(-?[\d.]+(?:e-?\d+)?)/g)].map((found) => Number(found[1]));
  const pictures = times.map((time, index) => ({ time, number: numberOf(out.subarray(40 * index, 40 * index + 40)) }));
  const troubles = text.split('\n').filter((line) => /\[(warning|error|fatal|panic)\]/.test(line));
  if (out.length !== 40 * times.length) troubles.push(`${out.length} bytes for ${times.length} pictures`);
  return { status, pictures, troubles };
}

/** Packets of one kind (`v` or `a`) as ffprobe reads them: `[{ pts, dts }]` in seconds. */
export async function packets(input, kind) {
  const args = ['-v', 'error', '-select_streams', kind, '-show_entries', 'packet=pts_time,dts_time', '-of', 'csv=p=0', input];
  const { status, out, err } = await collect('ffprobe', args);
  const troubles = err.toString().split('\n').filter(Boolean);
  if (status !== 0) troubles.push(`ffprobe ended with ${status}`);
  const lines = out.toString().split('\n').filter(Boolean);
  return { troubles, packets: lines.map((line) => line.split(',').map(Number)).map(([pts, dts]) => ({ pts, dts })) };
}

/** Runs a program beside everything else. */
export function collect(program, args, options = {}) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  const [out, err] = [[], []];
  child.stdout.on('data', (bytes) => out.push(bytes));
  child.stderr.on('data', (bytes) => err.push(bytes));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, out: Buffer.concat(out), err: Buffer.concat(err) }));
  });
}
