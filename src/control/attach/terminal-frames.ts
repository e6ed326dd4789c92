import { z } from 'zod';
import type { Channel } from '../../base/channel.ts';
import { terminalSizeSchema } from '../../contract/attach-frames.ts';
import { terminalId } from '../../contract/attach-schemas.ts';
import { Fault } from '../../contract/faults.ts';
import type {
  ExecExit,
  TerminalInfo,
  TerminalOpening,
  TerminalPurpose,
  TerminalTold,
} from '../../contract/runner-terminals.ts';
import type { ActorId } from '../../model/actor.ts';
import { faultOfFrame } from '../runner-frames.ts';
import { LinkLost, type RunnerLink } from '../runner-link.ts';
import { controlAttachLimits } from './limits.ts';

/** What the runner says of terminals, parsed: control trusts it with sandboxes, not with its own memory. */

const count = z.int().min(0);

const opening: z.ZodType<TerminalOpening> = z.object({
  size: terminalSizeSchema,
  offset: count,
  snapshotBytes: count.max(controlAttachLimits.snapshotBytesMax),
  resumed: z.boolean(),
  recorded: z.boolean(),
});

const told: z.ZodType<TerminalTold> = z.discriminatedUnion('told', [
  z.object({ told: z.literal('size'), size: terminalSizeSchema }),
  z.object({ told: z.literal('recorded'), recorded: z.boolean() }),
  z.object({ told: z.literal('ended'), code: z.int().nullable() }),
]);

const exit: z.ZodType<ExecExit> = z.object({ exit: z.object({ code: z.int() }) });

const terminals: z.ZodType<readonly TerminalInfo[]> = z
  .array(
    z.object({
      id: terminalId,
      kind: z.enum(['run', 'exec']),
      by: z.string().max(256) as unknown as z.ZodType<ActorId>,
      command: z.array(z.string()),
      size: terminalSizeSchema,
      openedAt: z.number().min(0),
      endedAt: z.number().min(0).nullable(),
      exitCode: z.int().nullable(),
      recordingBytes: count,
      recordingSeconds: z.number().min(0),
      complete: z.boolean(),
    }),
  )
  .max(controlAttachLimits.terminalsMax);

/** What the runner tells of a live terminal. Throws the fault that it reports, and ZodError on anything else. */
export function parseTold(value: unknown): TerminalTold {
  const fault = faultOfFrame(value);
  if (fault !== null) throw fault;
  return told.parse(value);
}

/** How a command with pipes ended, or null where the frame says something else. */
export function exitOfFrame(value: unknown): number | null {
  const parsed = exit.safeParse(value);
  return parsed.success ? parsed.data.exit.code : null;
}

/** The answer to the order `terminals`. Throws ZodError. */
export function parseTerminals(value: unknown): readonly TerminalInfo[] {
  return terminals.parse(value);
}

/** A terminal as the runner shows it: from here on the channel carries its output, behind `told`. */
export type ShownTerminal = {
  readonly channel: Channel;
  readonly opening: TerminalOpening;
  readonly snapshot: Buffer;
  readonly told: readonly TerminalTold[];
};

/** Throws the runner's Fault, or LinkLost where it does not show the terminal in time. */
export async function showTerminal(
  link: RunnerLink,
  purpose: TerminalPurpose & { purpose: 'terminal' },
): Promise<ShownTerminal> {
  const channel = await link.stream(purpose);
  return await inTime(channel, async () => {
    const shown = opening.parse(await firstFrame(channel));
    const parts: Buffer[] = [];
    const said: TerminalTold[] = [];
    let left = shown.snapshotBytes;
    while (left > 0) {
      const frame = await channel.read();
      if (frame === null) throw new LinkLost('the screen was cut off');
      if (frame.kind === 'json') said.push(parseTold(frame.value));
      else {
        left -= frame.bytes.length;
        parts.push(frame.bytes);
      }
    }
    if (left < 0) throw new Error('a screen that is larger than was said');
    return { channel, opening: shown, snapshot: Buffer.concat(parts), told: said };
  });
}

/** A connection whose first frame says that what was asked for has begun. Throws the runner's Fault, or LinkLost. */
export async function beginStream(
  link: RunnerLink,
  purpose: TerminalPurpose & { purpose: 'exec' | 'port' },
): Promise<Channel> {
  const channel = await link.stream(purpose);
  return await inTime(channel, async () => {
    const begun = z.union([z.object({ started: z.literal(true) }), z.object({ connected: z.literal(true) })]);
    begun.parse(await firstFrame(channel));
    return channel;
  });
}

async function firstFrame(channel: Channel): Promise<unknown> {
  const frame = await channel.read();
  if (frame === null) throw new LinkLost('the runner hung up');
  if (frame.kind !== 'json') throw new Error('data before the first word');
  const fault = faultOfFrame(frame.value);
  if (fault !== null) throw fault;
  return frame.value;
}

/** Hangs up where it fails or takes too long. */
async function inTime<T>(channel: Channel, work: () => Promise<T>): Promise<T> {
  const timer = setTimeout(() => channel.close(), controlAttachLimits.openTimeoutMs);
  try {
    return await work();
  } catch (error) {
    channel.close();
    throw error instanceof Fault ? error : new LinkLost(String(error));
  } finally {
    clearTimeout(timer);
  }
}
