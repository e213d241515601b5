// The words that the parts of the player share. No behaviour.

/** A way for live pictures to arrive, in the order in which they are tried. */
export type TransportName = 'whep' | 'ws' | 'hls';

export const TRANSPORTS: readonly TransportName[] = ['whep', 'ws', 'hls'];

/** Which stream of a camera; `auto` leaves the choice to the server. */
export type StreamName = 'auto' | 'main' | 'sub';

/**
 * What the player does. The last picture stays on screen in every state but `idle`.
 * `connecting`: on the way to the first picture. `stalled`: connected, but the camera sends nothing. `offline`: not
 * connected, tries again. `ended`: not connected, does not try again.
 */
export type PlayerState = 'idle' | 'connecting' | 'playing' | 'paused' | 'stalled' | 'offline' | 'ended';

/** Answer of `GET /api/v1/cameras/{id}/liveview`. */
export interface LiveUrls {
  hls_url: string;
  whep_url: string;
  ws_url: string;
  token: string;
  ready: boolean;
  codec?: string;
  width?: number;
  height?: number;
  ice_servers: RTCIceServer[];
  /** Why WebRTC cannot carry these pictures, such as `b_frames`. */
  not_for_webrtc?: string;
}

/** Answer of `POST /api/v1/cameras/{id}/playback/sessions`. */
export interface PlaybackSession {
  id: string;
  playlist_url: string;
  from: string;
  to: string;
  stream?: string;
  codecs?: string[];
}

/** What is known of the pictures. */
export interface MediaInfo {
  /** As people write it: `H.264`; '' where unknown. */
  codec: string;
  width: number;
  height: number;
}

/** An instant in milliseconds since 1970 UTC by the server's clock; NaN where it is not known. */
export type Instant = number;
