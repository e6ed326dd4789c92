import type { Command } from 'commander';
import type { AttachSettingsView } from '../contract/attach-settings.ts';
import { attachModes } from '../model/terminal.ts';
import { type Context, print } from './context.ts';
import { UsageFailure } from './failure.ts';
import { resolveSession } from './resolve.ts';

type Flags = { mode?: string; moderated?: boolean; recordInput?: boolean; reason?: string; json?: boolean };

export function defineAttachControl(sessions: Command, context: Context): void {
  sessions
    .command('attach-control')
    .summary('switch attaching to the runs of a session on or off')
    .description(
      'Says whether people may attach to the terminals of a session’s runs, and how. Off by default; it needs\n' +
        'control:write and is on record. What is not named is off, and the mode exclusive. Switching it off cuts\n' +
        'everybody who is attached within a second.\n\n' +
        'Examples:\n' +
        '  sealwright sessions attach-control build on\n' +
        '  sealwright sessions attach-control build on --moderated --record-input --reason "incident 42"\n' +
        '  sealwright sessions attach-control build off',
    )
    .argument('<session>', 'id, beginning of an id, name, or "latest"')
    .argument('<on|off>')
    .option('--mode <mode>', 'exclusive (one driver at a time) or collaborative (several)')
    .option('--moderated', 'drivers may type only while somebody else with control:write watches')
    .option('--record-input', 'record what is typed, too, without secrets')
    .option('--reason <text>', 'why, for the record')
    .option('--json', 'print the whole answer as JSON')
    .action(async (word: string, state: string, flags: Flags) => {
      const { mode: asked, moderated, recordInput, reason } = flags;
      if (state !== 'on' && state !== 'off') throw new UsageFailure(`It is on or off, not "${state}"`);
      const mode = attachModes.find((known) => known === asked);
      if (asked !== undefined && mode === undefined)
        throw new UsageFailure(`--mode takes ${attachModes.join(' or ')}, not "${asked}"`);
      const api = await context.connect();
      const settings = await api.attach.configure(await resolveSession(api, word), {
        enabled: state === 'on',
        ...(mode === undefined ? {} : { mode }),
        ...(moderated === undefined ? {} : { moderated }),
        ...(recordInput === undefined ? {} : { recordInput }),
        ...(reason === undefined ? {} : { reason }),
      });
      const shown = flags.json === true ? JSON.stringify(settings, null, 2) : inWords(settings);
      await print(context.environment, `${shown}\n`);
    });
}

function inWords({ enabled, mode, moderated, recordInput }: AttachSettingsView): string {
  if (!enabled) return 'off';
  return [
    `on, ${mode}`,
    ...(moderated ? ['moderated'] : []),
    ...(recordInput ? ['input recorded'] : []),
  ].join(', ');
}
