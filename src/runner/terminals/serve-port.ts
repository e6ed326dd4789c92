import type { Socket } from 'node:net';
import type { Channel } from '../../base/channel.ts';
import type { PortConnected } from '../../contract/runner-terminals.ts';
import { parseEndInput } from '../control-frames.ts';
import { terminalLimits } from './limits.ts';

/** Carries bytes between control and a connection to a port inside, until one of them hangs up. */
export async function servePort(channel: Channel, socket: Socket): Promise<void> {
  socket.on('error', () => channel.close());
  void channel.closed.then(() => socket.destroy());
  await channel.sendJson({ connected: true } satisfies PortConnected);
  void receive(channel, socket).catch(() => channel.close());
  for await (const chunk of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>)
    for (let at = 0; at < chunk.length; at += terminalLimits.readBytesMax)
      await channel.sendData(chunk.subarray(at, at + terminalLimits.readBytesMax));
  channel.end();
  await channel.closed;
}

async function receive(channel: Channel, socket: Socket): Promise<void> {
  for (let frame = await channel.read(); frame !== null; frame = await channel.read()) {
    if (frame.kind === 'json') {
      parseEndInput(frame.value);
      socket.end();
    } else if (!socket.write(frame.bytes)) await channel.whileUnread(roomIn(socket));
  }
  socket.destroy();
}

function roomIn(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      socket.off('drain', settle).off('close', settle);
      resolve();
    };
    socket.once('drain', settle).once('close', settle);
  });
}
