// The API's slugs in words for people. A slug that is not listed is shown as it is.

const CAUSES = {
  config: 'no usable stream address',
  unreachable: 'camera not reachable',
  refused: 'connection refused',
  auth: 'user name or password not accepted',
  not_found: 'the camera has no such stream',
  timeout: 'no answer from the camera',
  tls: 'encryption failed',
  protocol: 'the camera breaks the protocol',
  codec: 'nothing in the stream that can be recorded',
  closed: 'the camera ended the session',
  stalled: 'connected, but no pictures',
  disk: 'the disk could not take it',
  overload: 'this machine could not keep up',
  unknown: 'unknown cause',
  starting: 'starting',
  reconfigured: 'settings were changed',
  server_stopped: 'Heldar was stopped',
  server_crashed: 'Heldar ended unexpectedly',
  host_down: 'the machine was down',
  damaged: 'damaged on disk',
  retention: 'removed by age or size limit',
  deleted: 'deleted',
  not_wanted: 'not to be recorded',
};

const NOT_WANTED = {
  camera_disabled: 'camera switched off',
  recording_disabled: 'recording switched off',
  recorder_off: 'recorder switched off',
  outside_schedule: 'outside of its schedule',
  awaiting_trigger: 'waiting for an event',
};

const STATES = {
  unknown: 'New',
  disabled: 'Not recording',
  connecting: 'Connecting',
  recording: 'Recording',
  offline: 'Offline',
  error: 'Error',
};

const CODECS = { h264: 'H.264', hevc: 'H.265', h265: 'H.265', av1: 'AV1' };

export const cause = (slug) => CAUSES[slug] ?? slug ?? CAUSES.unknown;
export const notWanted = (slug) => NOT_WANTED[slug] ?? slug ?? '';
export const state = (slug) => STATES[slug] ?? slug;
export const codec = (slug) => CODECS[slug] ?? slug;

/** "1280 × 720". */
export const resolution = (text) => (text ?? '').replace('x', ' × ');

/** "2.5 Mbit/s". */
export function bitrate(kbps) {
  return kbps >= 1000 ? `${(kbps / 1000).toFixed(1)} Mbit/s` : `${Math.round(kbps)} kbit/s`;
}

/** "34.1 MB". */
export function bytes(count) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 && unit ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** Pictures per second without needless digits. */
export const rate = (fps) => `${Math.round(fps * 10) / 10} fps`;
