import { spawn } from 'node:child_process';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { CliFailure, exitStatus } from '../failure.ts';
import { hostOptions, hostSuffix } from './host.ts';
import { liveRun } from './ssh-proxy.ts';

export function defineSsh(program: Command, context: Context): void {
  program
    .command('ssh')
    .summary('run ssh into the sandbox of a run')
    .description(
      'Runs ssh into the sandbox of a run, without a line in ~/.ssh/config.\n\n' +
        'Examples:\n' +
        '  sealwright ssh latest\n' +
        '  sealwright ssh latest -- make test\n' +
        '  sealwright ssh latest -N -L 3000:localhost:3000',
    )
    .usage('RUN [SSH OPTION…] [--] [COMMAND…]')
    .argument('<run>', 'id, beginning of an id, name, or "latest"')
    .argument('[words...]', 'options of ssh; then, behind --, a command')
    .passThroughOptions()
    .action(async (word: string, words: string[]) => {
      context.status = await ssh(context, word, words);
    });
}

async function ssh(context: Context, word: string, words: readonly string[]): Promise<number> {
  const { environment } = context;
  const run = await liveRun(await context.connect(), word);
  const { openSshKeys } = await import('./key-files.ts');
  const { identityFile, knownHostsFile } = await openSshKeys(environment);
  const { url } = await context.describeTarget();
  const { program, variables } = environment;
  const options = hostOptions({ run, program, url, identityFile, knownHostsFile });
  const given = options.flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  const { flags, command } = wordsOfSsh(words);
  const child = spawn('ssh', [...given, ...flags, `${run}${hostSuffix}`, ...command], {
    stdio: 'inherit',
    env: { ...variables },
    shell: false,
  });
  const off = environment.onInterrupt((signal) => void child.kill(signal));
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status) => resolve(status ?? exitStatus.ownFailure));
    });
  } catch (error) {
    throw new CliFailure('ssh cannot be started.', { hint: 'Install openssh-client.', cause: error });
  } finally {
    off();
  }
}

/** ssh takes its options before the host, and the command behind it. */
export function wordsOfSsh(words: readonly string[]): {
  readonly flags: readonly string[];
  readonly command: readonly string[];
} {
  const end = words.indexOf('--');
  if (end >= 0) return { flags: words.slice(0, end), command: words.slice(end + 1) };
  return words[0]?.startsWith('-') === true ? { flags: words, command: [] } : { flags: [], command: words };
}
