import { attachCloseCodes, ticketProtocolPrefix } from '../../contract/attach.ts';
import type { OpenSocket } from './socket.ts';

/** What may wait to be drawn: a page that has more to draw than that is behind by seconds. */
const waitingBytesMax = 8 * 1024 * 1024;

/**
 * A WebSocket as browsers have it, at the origin of the page. They set no headers, so the ticket is one more subprotocol;
 * they say nothing of a refusal, and cannot stop reading. So that a flood of output does not fill the page's memory, the
 * connection is left as the server would cut a slow client: whoever has it comes again, and gets the screen as it is then.
 */
export function browserSocket(origin: string): OpenSocket {
  return ({ path, ticket, protocol }, events) => {
    const url = new URL(path, origin);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(url, [protocol, ticketProtocolPrefix + ticket]);
    socket.binaryType = 'arraybuffer';
    let isPaused = false;
    let waitingBytes = 0;
    let isLeft = false;
    socket.onmessage = ({ data }) => {
      if (isLeft) return;
      if (typeof data === 'string') {
        events.text(data);
        return;
      }
      const bytes = new Uint8Array(data as ArrayBuffer);
      if (isPaused) waitingBytes += bytes.length;
      isLeft = waitingBytes > waitingBytesMax;
      if (isLeft) socket.close(attachCloseCodes.slow);
      else events.binary(bytes);
    };
    socket.onclose = ({ code, reason }) => {
      events.closed({ code: isLeft ? attachCloseCodes.slow : code, reason, refusal: null });
    };
    return {
      async send(message) {
        if (socket.readyState === WebSocket.OPEN) socket.send(message as string | Uint8Array<ArrayBuffer>);
      },
      pause() {
        isPaused = true;
      },
      resume() {
        isPaused = false;
        waitingBytes = 0;
      },
      close: () => socket.close(1000),
    };
  };
}
