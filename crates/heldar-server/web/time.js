// Instants and lengths of time. An instant is a number of milliseconds since 1970 UTC with a fraction down to the
// microsecond; what people see is their own time zone.

const RFC3339 = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

/** The instant of an RFC 3339 text; NaN for any other text. */
export function parse(text) {
  const found = RFC3339.exec(text ?? '');
  if (!found) return NaN;
  return Date.parse(found[1] + found[3]) + Number(`0${found[2] ?? ''}`) * 1000;
}

/** RFC 3339 in UTC with microseconds, as the API takes it. */
export function iso(instant) {
  const micros = Math.round(instant * 1000);
  const seconds = Math.floor(micros / 1e6);
  const fraction = String(micros - seconds * 1e6).padStart(6, '0');
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${fraction}Z`;
}

const two = (number) => String(number).padStart(2, '0');

/** Time of day, "21:05:12"; with tenths, "21:05:12.4". */
export function clock(instant, { tenths = false } = {}) {
  const at = new Date(instant);
  const text = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return tenths ? `${text}.${Math.floor(at.getMilliseconds() / 100)}` : text;
}

/** Hours and minutes. */
export function minutes(instant) {
  return clock(instant).slice(0, 5);
}

/** Day, "Sun 23 Nov". */
export function day(instant) {
  return new Date(instant).toLocaleDateString(undefined, { weekday: 'short', day: 'numeric', month: 'short' });
}

/** Whether two instants are of one local day. */
export function sameDay(one, other) {
  return new Date(one).toDateString() === new Date(other).toDateString();
}

/** Time of day, with the day in front when that is not today. */
export function when(instant, now = Date.now()) {
  return sameDay(instant, now) ? clock(instant) : `${day(instant)} ${clock(instant)}`;
}

/** A length of time in words: "25 s", "2 min 4 s", "3 h 10 min", "2 d 4 h". */
export function span(seconds) {
  if (seconds < 9.95) return `${Math.max(0, Math.round(seconds * 10) / 10)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const units = whole < 3600 ? [60, 'min', 1, 's'] : whole < 86_400 ? [3600, 'h', 60, 'min'] : [86_400, 'd', 3600, 'h'];
  const [big, bigName, small, smallName] = units;
  const rest = Math.floor((whole % big) / small);
  const text = `${Math.floor(whole / big)} ${bigName}`;
  return rest ? `${text} ${rest} ${smallName}` : text;
}

/** The value of a `datetime-local` field. */
export function toField(instant) {
  const at = new Date(instant);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${clock(instant)}`;
}

/** The instant of a `datetime-local` field; NaN when it is empty. */
export function fromField(text) {
  return text ? new Date(text).getTime() : NaN;
}

/** Name of the viewer's time zone. */
export function zone() {
  return Intl.DateTimeFormat().resolvedOptions().timeZone || 'local time';
}
