// The little of ISO/IEC 14496-12 that is needed to place fragments in time and to name what is in them: tracks of an init
// segment with their codec strings (RFC 6381), and the presentation time of the first picture of a fragment. Damaged bytes
// give less, never an exception.

interface Box {
  type: string;
  /** Content of the box. */
  start: number;
  end: number;
}

function* boxes(view: DataView, start: number, end: number): Generator<Box> {
  let at = start;
  while (at + 8 <= end) {
    let size = view.getUint32(at);
    let header = 8;
    if (size === 1 && at + 16 <= end) {
      size = view.getUint32(at + 8) * 2 ** 32 + view.getUint32(at + 12);
      header = 16;
    } else if (size === 0) {
      size = end - at;
    }
    if (size < header || at + size > end) return;
    const type = String.fromCharCode(...[4, 5, 6, 7].map((offset) => view.getUint8(at + offset)));
    yield { type, start: at + header, end: at + size };
    at += size;
  }
}

function find(view: DataView, within: Box, type: string): Box | null {
  for (const box of boxes(view, within.start, within.end)) if (box.type === type) return box;
  return null;
}

function path(view: DataView, within: Box, ...types: string[]): Box | null {
  let box: Box | null = within;
  for (const type of types) box = box && find(view, box, type);
  return box;
}

const whole = (bytes: Uint8Array): [DataView, Box] => [
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
  { type: '', start: 0, end: bytes.byteLength },
];

/** The picture track of an init segment. */
export interface PictureTrack {
  id: number;
  timescale: number;
}

/** What an init segment says. */
export interface Description {
  picture: PictureTrack | null;
  width: number;
  height: number;
  /** Codec strings of all tracks, that of the pictures first. */
  codecs: string[];
}

const VIDEO = 0x76696465;

/** Reads an init segment. */
export function describe(init: Uint8Array): Description {
  const [view, file] = whole(init);
  const description: Description = { picture: null, width: 0, height: 0, codecs: [] };
  const moov = find(view, file, 'moov');
  if (!moov) return description;
  for (const trak of boxes(view, moov.start, moov.end)) {
    if (trak.type !== 'trak') continue;
    const entry = sampleEntry(view, trak);
    const codec = entry ? codecString(view, entry) : '';
    const handler = path(view, trak, 'mdia', 'hdlr');
    const isVideo = handler !== null && handler.end - handler.start >= 12 && view.getUint32(handler.start + 8) === VIDEO;
    if (!isVideo) {
      if (codec) description.codecs.push(codec);
      continue;
    }
    if (codec) description.codecs.unshift(codec);
    description.picture = picture(view, trak);
    if (entry && entry.end - entry.start >= 28) {
      description.width = view.getUint16(entry.start + 24);
      description.height = view.getUint16(entry.start + 26);
    }
  }
  return description;
}

function picture(view: DataView, trak: Box): PictureTrack | null {
  const header = find(view, trak, 'tkhd');
  const media = path(view, trak, 'mdia', 'mdhd');
  if (!header || !media) return null;
  const long = (box: Box) => box.end > box.start && view.getUint8(box.start) === 1;
  const idAt = header.start + (long(header) ? 20 : 12);
  const scaleAt = media.start + (long(media) ? 20 : 12);
  if (idAt + 4 > header.end || scaleAt + 4 > media.end) return null;
  return { id: view.getUint32(idAt), timescale: view.getUint32(scaleAt) };
}

/** The first entry of a track's `stsd`. */
function sampleEntry(view: DataView, trak: Box): Box | null {
  const table = path(view, trak, 'mdia', 'minf', 'stbl', 'stsd');
  if (!table) return null;
  for (const entry of boxes(view, table.start + 8, table.end)) return entry;
  return null;
}

const hex = (byte: number) => byte.toString(16).padStart(2, '0');

function codecString(view: DataView, entry: Box): string {
  // Fields of a visual entry take 78 bytes, those of an audio entry 28, before the boxes inside.
  const inside = (type: string, fields: number) => find(view, { ...entry, start: entry.start + fields }, type);
  switch (entry.type) {
    case 'avc1':
    case 'avc3': {
      const config = inside('avcC', 78);
      if (!config || config.end - config.start < 4) return '';
      return `${entry.type}.${[1, 2, 3].map((offset) => hex(view.getUint8(config.start + offset))).join('')}`;
    }
    case 'hvc1':
    case 'hev1': {
      const config = inside('hvcC', 78);
      return config && config.end - config.start >= 13 ? hevcString(view, entry.type, config.start) : '';
    }
    case 'mp4a':
      // The server records and sends AAC-LC in this entry.
      return 'mp4a.40.2';
    case 'Opus':
      return 'opus';
    default:
      return '';
  }
}

/** ISO/IEC 14496-15 E.3. */
function hevcString(view: DataView, type: string, at: number): string {
  const general = view.getUint8(at + 1);
  let compatibility = view.getUint32(at + 2);
  let reversed = 0;
  for (let bit = 0; bit < 32; bit += 1) {
    reversed = (reversed * 2 + (compatibility & 1)) >>> 0;
    compatibility >>>= 1;
  }
  const space = ['', 'A', 'B', 'C'][general >> 6] ?? '';
  const tier = general & 0x20 ? 'H' : 'L';
  const constraints = [6, 7, 8, 9, 10, 11].map((offset) => view.getUint8(at + offset));
  while (constraints.length && constraints[constraints.length - 1] === 0) constraints.pop();
  const parts = [type, `${space}${general & 0x1f}`, reversed.toString(16), `${tier}${view.getUint8(at + 12)}`];
  return [...parts, ...constraints.map((byte) => byte.toString(16).toUpperCase())].join('.');
}

/** When the first picture of a media segment is presented, in seconds of media time. */
export function firstPicture(segment: Uint8Array, track: PictureTrack): number | null {
  const [view, file] = whole(segment);
  for (const moof of boxes(view, file.start, file.end)) {
    if (moof.type !== 'moof') continue;
    for (const traf of boxes(view, moof.start, moof.end)) {
      if (traf.type !== 'traf') continue;
      const header = find(view, traf, 'tfhd');
      const decode = find(view, traf, 'tfdt');
      const run = find(view, traf, 'trun');
      if (!header || !decode || header.end - header.start < 8 || view.getUint32(header.start + 4) !== track.id) continue;
      const long = view.getUint8(decode.start) === 1;
      if (decode.end - decode.start < (long ? 12 : 8)) continue;
      const high = long ? view.getUint32(decode.start + 4) * 2 ** 32 : 0;
      const base = high + view.getUint32(decode.start + (long ? 8 : 4));
      return (base + (run ? firstOffset(view, run) : 0)) / track.timescale;
    }
  }
  return null;
}

/** Composition offset of the first sample of a `trun` (8.8.8). */
function firstOffset(view: DataView, run: Box): number {
  if (run.end - run.start < 8) return 0;
  const flags = view.getUint32(run.start) & 0xffffff;
  if (!(flags & 0x800)) return 0;
  let at = run.start + 8;
  for (const flag of [0x1, 0x4, 0x100, 0x200, 0x400]) if (flags & flag) at += 4;
  return at + 4 <= run.end ? view.getInt32(at) : 0;
}
