// Why something did not work, sorted by what follows from it.

/**
 * - `unplayable`: the pictures are of a coding that this way cannot show; another way may.
 * - `unusable`: this way does not work here (blocked, broken, not offered); another may.
 * - `lost`: it worked, and does not any more.
 * - `unavailable`: nothing to be seen for now (camera off, server away); asking again later may help.
 * - `ended`: the right to watch is over, or there is nothing to watch; asking again is of no use.
 */
export type FailureKind = 'unplayable' | 'unusable' | 'lost' | 'unavailable' | 'ended';

/** A failure with its words for people. */
export class Failure extends Error {
  readonly kind: FailureKind;
  /** The server's slug, where it gave one. */
  readonly code: string;

  constructor(kind: FailureKind, message: string, code = '') {
    super(message);
    this.name = 'Failure';
    this.kind = kind;
    this.code = code;
  }

  /** Anything that was thrown, as a failure. */
  static of(error: unknown, kind: FailureKind): Failure {
    if (error instanceof Failure) return error;
    return new Failure(kind, error instanceof Error ? error.message : String(error));
  }
}

/** Begins with a capital and ends with a full stop. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  if (!trimmed) return '';
  return `${trimmed.charAt(0).toUpperCase()}${trimmed.slice(1)}${/[.!?]$/.test(trimmed) ? '' : '.'}`;
}

/** What an answer of the server that is no success means for whoever wants to watch. */
export function kindOf(status: number, code: string): FailureKind {
  if (status === 406) return 'unplayable';
  if (status === 401 || status === 403) return 'ended';
  // The camera may be switched on or given an address by and by; one that is gone does not come back.
  if (code === 'camera_disabled' || code === 'no_stream_url') return 'unavailable';
  if (status === 404) return 'ended';
  return 'unavailable';
}
