import { ticketProtocolPrefix } from '../../contract/attach.ts';
import type { OpenSocket } from './socket.ts';

/**
 * A WebSocket as browsers have it, at the origin of the page. They set no headers, so the ticket is one more subprotocol;
 * they say nothing of a refusal, and cannot stop reading.
 */
export function browserSocket(origin: string): OpenSocket {
  return ({ path, ticket, protocol }, events) => {
    const url = new URL(path, origin);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(url, [protocol, ticketProtocolPrefix + ticket]);
    socket.binaryType = 'arraybuffer';
    socket.onmessage = ({ data }) => {
      if (typeof data === 'string') events.text(data);
      else events.binary(new Uint8Array(data as ArrayBuffer));
    };
    socket.onclose = ({ code, reason }) => events.closed({ code, reason, refusal: null });
    return {
      async send(message) {
        if (socket.readyState === WebSocket.OPEN) socket.send(message as string | Uint8Array<ArrayBuffer>);
      },
      pause() {},
      resume() {},
      close: () => socket.close(1000),
    };
  };
}
