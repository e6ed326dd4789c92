import type { Command } from 'commander';
import type { AttachState } from '../client/attach/session.ts';
import { type Context, note } from './context.ts';
import { exitStatus, UsageFailure } from './failure.ts';
import { resolveRun } from './resolve.ts';
import { defaultDetachKeys, parseDetachKeys, showKeys, showWheelKeys } from './terminal/detach-keys.ts';

type Flags = { driver?: boolean; takeover?: boolean; terminal?: string; detachKeys: string };

export const detachHelp = 'keys that leave and let it go on, such as ctrl-],d; none for none';

export function defineAttach(program: Command, context: Context): void {
  program
    .command('attach')
    .summary('watch or drive the terminal of a live run')
    .description(
      'Shows the terminal of a live run, as a viewer; with --driver your keys go to it. Leaving lets it go on.\n' +
        'Attaching has to be on for the session (sealwright sessions attach-control), and driving needs\n' +
        'control:write. Ends with the status of the command where that ends first.\n\n' +
        'Examples:\n' +
        '  sealwright attach latest\n' +
        '  sealwright attach build --driver\n' +
        '  sealwright attach build --takeover    # from whoever drives',
    )
    .argument('<run>', 'id, beginning of an id, name, or "latest"')
    .option('--driver', 'type, too: asks for the lease of the driver')
    .option('--takeover', 'take the lease from whoever has it; implies --driver')
    .option('--terminal <id>', "another terminal than the run's own; see sealwright runs terminals")
    .option('--detach-keys <keys>', detachHelp, defaultDetachKeys)
    .action(async (word: string, flags: Flags) => {
      context.status = await attach(context, word, flags);
    });
}

async function attach(context: Context, word: string, flags: Flags): Promise<number> {
  const { interact, statusOfSignal, terminalOf } = await import('./terminal/interact.ts');
  const terminal = terminalOf(context.environment, 'attach');
  const detachKeys = parseDetachKeys(flags.detachKeys);
  const role = flags.driver === true || flags.takeover === true ? 'driver' : 'viewer';
  if (role === 'viewer' && detachKeys.length === 0)
    throw new UsageFailure('A viewer has no other way out than --detach-keys');
  const api = await context.connect();
  const run = await resolveRun(api, word);
  const end = await interact(context, api, terminal, {
    ticket: (_, asked) =>
      api.attach.ticket(run, {
        role: asked,
        ...(flags.terminal === undefined ? {} : { terminal: flags.terminal as `trm_${string}` }),
      }),
    ...{ role, takeover: flags.takeover, detachKeys },
    hello: (state) => helloOf(state, flags.detachKeys),
  });
  if (end.by === 'failure') throw end.error;
  if (end.by === 'signal') return statusOfSignal(end.signal);
  if (end.by === 'command') return statusOfEnd(end);
  await note(context.environment, `left ${run}, which goes on`);
  return exitStatus.ok;
}

/** What the user is there, and how to leave. */
function helloOf({ role, size }: AttachState, detachKeys: string): string {
  const what = role === 'driver' ? 'driver' : 'viewer';
  const large = size === null ? '' : ` of ${size.columns}×${size.rows}`;
  const wheel = showWheelKeys(detachKeys);
  // It fits into one line of 80.
  return `${what}${large}; ${showKeys(detachKeys)} leaves${wheel === null ? '' : `, ${wheel}: who drives`}`;
}

/** The status of a command that ended in a terminal; nobody knows it where its runner went with it. */
export function statusOfEnd({ code }: { readonly code: number | null }): number {
  return code ?? exitStatus.ownFailure;
}
