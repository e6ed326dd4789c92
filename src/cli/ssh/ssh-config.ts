import type { Command } from 'commander';
import type { Api } from '../api.ts';
import { type Context, print } from '../context.ts';
import { CliFailure, UsageFailure } from '../failure.ts';
import { collect } from '../listing.ts';
import { hostBlock } from './host.ts';
import { sshLimits } from './limits.ts';
import { liveRun } from './ssh-proxy.ts';

export function defineSshConfig(program: Command, context: Context): void {
  program
    .command('ssh-config')
    .summary('print what ~/.ssh/config needs to reach runs')
    .description(
      'Prints a Host block for ssh: with it, ssh RUN.sealwright, scp, sftp, rsync and editors reach into the sandbox.\n' +
        '  sealwright ssh-config --all > ~/.ssh/sealwright   and, as the first line of ~/.ssh/config: Include sealwright',
    )
    .argument('[run]', 'id, beginning of an id, name, or "latest"')
    .option('--all', 'every run that is running')
    .action(async (word: string | undefined, flags: { all?: boolean }) => {
      if ((word === undefined) === (flags.all !== true))
        throw new UsageFailure('Name one run, or give --all.', 'sealwright runs lists them.');
      await config(context, word ?? null);
    });
}

async function config(context: Context, word: string | null): Promise<void> {
  const { environment } = context;
  const api = await context.connect();
  const runs = word === null ? await running(api) : [await api.runs.get(await liveRun(api, word))];
  const { openSshKeys } = await import('./key-files.ts');
  const { identityFile, knownHostsFile } = await openSshKeys(environment);
  for (const path of [identityFile, knownHostsFile]) checkPath(path);
  const { url } = await context.describeTarget();
  const named = new Set<string>();
  const blocks = runs.map(({ id, name }) => {
    // ssh takes the first block of a name: the newest run has it.
    const isFirst = name !== null && !named.has(name);
    if (name !== null) named.add(name);
    const { program } = environment;
    return hostBlock({ run: id, name: isFirst ? name : null, program, url, identityFile, knownHostsFile });
  });
  await print(environment, blocks.join('\n'));
}

async function running(api: Api) {
  const found = await collect(api.runs.list, { phase: 'running' }, sshLimits.hostsMax);
  return found.toSorted((a, b) => (a.createdAt < b.createdAt ? 1 : -1));
}

/** ssh_config(5) has no way to write these. */
function checkPath(path: string): void {
  if (!/["$\n\r]/.test(path)) return;
  throw new CliFailure(`ssh cannot be told of the path ${path}.`, {
    hint: 'Set XDG_STATE_HOME to a folder without quotes, dollar signs and line breaks.',
  });
}
