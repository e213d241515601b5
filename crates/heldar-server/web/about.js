// Beside the player: what the chosen camera is and how it does.

import { find, h, text } from './dom.js';
import { parse, when } from './time.js';
import { facts } from './timeline.js';
import { cause, notWanted, state } from './words.js';

/** Shows a camera with its status in `status`, which may be missing still; nothing for no camera. */
export function showAbout(camera) {
  find('about').hidden = !camera;
  if (!camera) return;
  const { status } = camera;
  const now = status?.state ?? 'unknown';
  text(find('about-name'), camera.name);
  const chip = find('about-state');
  text(chip, state(now));
  chip.className = `chip ${now}`;
  const trouble = find('about-trouble');
  trouble.hidden = !status || (now !== 'offline' && now !== 'error');
  text(trouble, trouble.hidden ? '' : troubleText(status));
  const lines = Object.entries(details(camera)).filter(([, value]) => value);
  const shown = find('about-facts');
  if (shown.dataset.shown === JSON.stringify(lines)) return;
  shown.dataset.shown = JSON.stringify(lines);
  shown.replaceChildren(...lines.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));
}

function troubleText(status) {
  const why = status.reason_class ? cause(status.reason_class) : '';
  const detail = status.last_error && status.last_error !== why ? status.last_error : '';
  const sentence = [why, detail].filter(Boolean).join(': ') || 'unknown cause';
  return `${sentence.charAt(0).toUpperCase()}${sentence.slice(1)}.`.replace(/\.\.$/, '.');
}

function details(camera) {
  const { status } = camera;
  return {
    Stream: camera.record_url_masked,
    Video: status?.state === 'recording' ? facts(camera) : '',
    Sound: { copied: 'recorded', converted: 'recorded as Opus', unsupported: 'cannot be stored' }[status?.audio],
    Why: status?.state === 'disabled' ? notWanted(status.not_wanted_reason) : '',
    Since: status?.state_since && when(parse(status.state_since)),
    Kept: `${camera.retention_hours} h`,
  };
}
