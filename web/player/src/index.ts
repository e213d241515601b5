// What the module exports. Loading it defines the element, once.

import { HeldarPlayer } from './element.js';
import { Player } from './player.js';

export { HeldarPlayer, Player };
export type { PlayerOptions } from './player.js';
export type { PlayerState, StreamName, TransportName } from './types.js';
export { described, noticeOf } from './words.js';

if (!customElements.get('heldar-player')) customElements.define('heldar-player', HeldarPlayer);
