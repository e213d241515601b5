// What this browser can show, in the words of the server and in those of people.

/** The server's words for codings, each with a common form of it for Media Source Extensions. */
const CODINGS: readonly [string, readonly string[]][] = [
  ['h264', ['avc1.64001f', 'avc1.42e01f']],
  ['hevc', ['hvc1.1.6.L93.B0', 'hvc1.1.6.L120.90']],
];

/** The constructor of media sources of this browser; iPhones have a managed one only. */
export function mediaSource(): typeof MediaSource | undefined {
  const scope = globalThis as { ManagedMediaSource?: typeof MediaSource; MediaSource?: typeof MediaSource };
  return scope.MediaSource ?? scope.ManagedMediaSource;
}

/** Whether Media Source Extensions take a type. */
export function takes(mime: string): boolean {
  return mediaSource()?.isTypeSupported(mime) ?? false;
}

/** Codings that Media Source Extensions show here, as the server's parameter `codec` takes them. */
export function playable(): string[] {
  return CODINGS.filter(([, forms]) => forms.some((form) => takes(`video/mp4; codecs="${form}"`))).map(([name]) => name);
}

/** The same for the browser's own HLS. */
export function nativelyPlayable(video: HTMLVideoElement): string[] {
  const plays = (form: string) => video.canPlayType(`video/mp4; codecs="${form}"`) !== '';
  return CODINGS.filter(([, forms]) => forms.some(plays)).map(([name]) => name);
}

/** A URL that also says what can be played. */
export function withCodecs(url: string, codecs: readonly string[]): string {
  if (!codecs.length) return url;
  return `${url}${url.includes('?') ? '&' : '?'}codec=${codecs.join(',')}`;
}

/** "H.264" of `avc1.64001f`, of `video/H264` and of `h264`. */
export function nameOf(codec: string): string {
  const word = codec.toLowerCase().replace(/^video\//, '');
  if (/^(avc|h264)/.test(word)) return 'H.264';
  if (/^(hvc|hev|h265|hevc)/.test(word)) return 'H.265';
  if (/^(av01|av1)/.test(word)) return 'AV1';
  return codec;
}
