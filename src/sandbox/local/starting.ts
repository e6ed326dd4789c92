import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { Fault } from '../../contract/faults.ts';
import type { ChildEnd } from './child-end.ts';
import { parseLauncherWord } from './launcher.ts';
import { localLimits } from './limits.ts';

/** What a start says on its way, and what it died of. */

/** Resolves once the launcher has confirmed the walls; otherwise rejects with the Fault that names what is not there. */
export async function untilConfirmed(launcher: Readable, cwd: string): Promise<void> {
  const word = parseLauncherWord(await firstLine(launcher));
  if (word?.word === 'cwd')
    throw new Fault('state.conflict', { detail: `The folder ${cwd} does not exist in the sandbox.` });
  if (word?.word !== 'ok') throw unavailable(`The wall '${word?.wall ?? 'unknown'}' does not stand`);
}

/** Up to the first end of a line; what follows it is dropped. */
export async function firstLine(stream: Readable): Promise<string> {
  let text = '';
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    text += String(chunk);
    const end = text.indexOf('\n');
    if (end >= 0) return text.slice(0, end);
  }
  throw new Error('bubblewrap ended before the sandbox stood');
}

export function unavailable(what: string, cause?: unknown): Fault {
  return new Fault('sandbox.unavailable', {
    detail: `${what}. Run \`sealwright doctor\` on the server's machine.`,
    cause,
  });
}

/** Ends a start that failed; what bubblewrap said of it, for the log and, bounded, for the caller. */
export async function explain(
  { kill, stderr, exited }: ChildEnd & { readonly stderr: Readable },
  error: unknown,
): Promise<Fault> {
  kill();
  if (error instanceof Fault && error.code === 'state.conflict') return error;
  let said = '';
  stderr.on('data', (chunk: Buffer) => {
    if (said.length < 2000) said += chunk.toString('utf8');
  });
  await exited;
  if (!stderr.destroyed)
    await Promise.race([
      once(stderr, 'close'),
      new Promise((resolve) => setTimeout(resolve, localLimits.complaintMs)),
    ]);
  const words = /(bwrap|nsenter|dash|sealwright): .*/.exec(said)?.[0].slice(0, 300);
  if (error instanceof Fault && words === undefined) return error;
  return unavailable(words ?? (error instanceof Error ? error.message : String(error)), error);
}
