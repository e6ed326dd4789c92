import type { Channel, Frame } from '../../base/channel.ts';
import { absent } from '../../contract/faults.ts';
import type { TerminalPurpose } from '../../contract/runner-terminals.ts';
import { parseTerminalAsk } from '../control-frames.ts';
import { terminalLimits } from './limits.ts';
import type { Subscription } from './subscription.ts';
import type { Author, TerminalHub } from './terminal-hub.ts';
import type { Terminals } from './terminals.ts';

/** Serves a live terminal until it ends, control hangs up or falls behind. Throws Fault where there is none. */
export async function serveTerminal(
  terminals: Terminals,
  channel: Channel,
  { run, terminal, from }: TerminalPurpose & { purpose: 'terminal' },
): Promise<void> {
  const hub = terminals.hub(run, terminal);
  if (hub === null) throw absent('terminal');
  const subscription = await hub.subscribe(from);
  const gone = new AbortController();
  void channel.closed.then(() => {
    gone.abort();
    subscription.close();
  });
  void listen(hub, channel, gone.signal).catch(() => channel.close());
  try {
    await show(subscription, channel);
  } finally {
    subscription.close();
  }
}

async function show(subscription: Subscription, channel: Channel): Promise<void> {
  const { opening, snapshot } = subscription;
  await channel.sendJson(opening);
  for (let at = 0; snapshot !== null && at < snapshot.length; at += terminalLimits.readBytesMax)
    await channel.sendData(snapshot.subarray(at, at + terminalLimits.readBytesMax));
  for (let item = await subscription.next(); item !== null; item = await subscription.next()) {
    if ('bytes' in item) await channel.sendData(item.bytes);
    else await channel.sendJson(item.told);
    if ('told' in item && item.told.told === 'ended') {
      channel.end();
      await channel.closed;
      return;
    }
  }
}

/**
 * Input in its order, and sizes at once: a program that reads nothing holds its own input up, and control only once a
 * bounded amount waits. What waits when control hangs up is dropped: its author may have lost the right to type it.
 */
async function listen(hub: TerminalHub, channel: Channel, gone: AbortSignal): Promise<void> {
  let author: Author | null = null;
  let waitingBytes = 0;
  for (let frame: Frame | null = await channel.read(); frame !== null; frame = await channel.read()) {
    if (frame.kind === 'json') {
      const ask = parseTerminalAsk(frame.value);
      if (ask.ask === 'size') hub.resize(ask.size);
      else author = { by: ask.by, recordInput: ask.recordInput };
      continue;
    }
    const { length } = frame.bytes;
    waitingBytes += length;
    const typed = hub.type(frame.bytes, author, gone).then(() => {
      waitingBytes -= length;
    });
    if (waitingBytes > terminalLimits.inputWaitingBytesMax) await channel.whileUnread(typed);
  }
}
