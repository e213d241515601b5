// ICE servers in the header `Link` of a WHEP answer (RFC 8288; WHEP, "STUN/TURN server configuration"). Pure.

/** `<turn:host?transport=udp>; rel="ice-server"; username="u"; credential="c"; credential-type="password", …` */
export function iceServers(link: string): RTCIceServer[] {
  const servers: RTCIceServer[] = [];
  for (const match of link.matchAll(/<([^>]*)>((?:\s*;\s*[\w-]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^;,\s]*))*)/g)) {
    const [, urls = '', parameters = ''] = match;
    const named = new Map<string, string>();
    for (const [, name = '', quoted, plain] of parameters.matchAll(/([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;,\s]*))/g)) {
      named.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, '$1') ?? plain ?? '');
    }
    if (named.get('rel') !== 'ice-server') continue;
    const username = named.get('username');
    const credential = named.get('credential');
    servers.push({ urls, ...(username !== undefined && { username }), ...(credential !== undefined && { credential }) });
  }
  return servers;
}
