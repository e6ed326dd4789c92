import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import type { ServerChannel } from 'ssh2';
import { channelWriter } from './channel-writer.ts';

/** Names of the sandbox's own loopback interface, which is where forwarding ends. */
const loopbackNames: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '::1']);

/** Why a destination is out of reach; null where it is not. */
export function forwardBar({ destIP, destPort }: { destIP: string; destPort: number }): string | null {
  if (!loopbackNames.has(destIP.toLowerCase()))
    return `${destIP} is not in the sandbox: forwarding reaches ports of its own localhost alone`;
  return destPort >= 1 && destPort <= 65_535 ? null : `${destPort} is not a port`;
}

/** Carries bytes between a channel and a connection inside, each direction until it ends, both until `gone`. */
export async function carryForward(
  channel: ServerChannel,
  connection: Duplex,
  gone: AbortSignal,
): Promise<void> {
  const write = channelWriter(channel, gone);
  const cut = () => connection.destroy();
  channel.on('error', cut);
  connection.on('error', () => {});
  gone.addEventListener('abort', cut);
  const sent = once(channel, 'end', { signal: gone });
  sent.catch(() => {});
  channel.pipe(connection);
  try {
    for await (const bytes of connection.iterator({ destroyOnReturn: false })) await write(channel, bytes);
    // The other direction may go on: SSH, too, has an end of file of each.
    channel.eof();
    await Promise.race([sent, once(connection, 'close')]);
  } catch {
    // Cut at one end; the other is cut below.
  } finally {
    gone.removeEventListener('abort', cut);
    connection.destroy();
    channel.end();
  }
}
