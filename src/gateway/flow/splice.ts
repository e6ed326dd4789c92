import type { Socket } from 'node:net';
import type { EgressFlowEnd } from '../../model/egress.ts';
import { gatewayLimits } from '../limits.ts';

/**
 * Joins two connections until both have ended: bytes in both directions with the back-pressure of each, half
 * closes, resets. `maySend` is asked before bytes go upstream; where they may not, both ends are cut. Resolves with
 * how it ended; another cut is known only to who cuts.
 */
export function splice(
  client: Socket,
  upstream: Socket,
  maySend: (bytes: number) => boolean,
): Promise<EgressFlowEnd['outcome']> {
  return new Promise((resolve) => {
    let outcome: EgressFlowEnd['outcome'] = 'closed';
    let open = 2;
    const fail = (why: EgressFlowEnd['outcome']) => {
      if (outcome === 'closed') outcome = why;
      for (const socket of [client, upstream]) if (!socket.destroyed) socket.resetAndDestroy();
    };
    const closed = (socket: Socket, other: Socket) => {
      open -= 1;
      // What the other end left without a half close can be passed on only as an end of both directions.
      if (!socket.readableEnded && !other.destroyed) fail('reset');
      if (open === 0) resolve(outcome);
    };
    // Heard before the pipe hears it: to an end that is destroyed, it writes nothing.
    client.on('data', (chunk: Buffer) => {
      if (!maySend(chunk.length)) fail('cut');
    });
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      // An end that had said all it had to may be gone before the last that the other has to say (TLS's closing alert).
      from.on('error', () => fail(from.readableEnded ? 'closed' : 'reset'));
      from.setTimeout(gatewayLimits.idleMs, () => fail('timed-out'));
      if (from.destroyed) queueMicrotask(() => closed(from, to));
      else from.once('close', () => closed(from, to));
      from.pipe(to);
    }
  });
}
