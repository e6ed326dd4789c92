import type { Command } from 'commander';
import type { Api } from '../api.ts';
import { type Context, note } from '../context.ts';
import { CliFailure, exitStatus, UsageFailure } from '../failure.ts';
import { resolveRun } from '../resolve.ts';

export function defineSshProxy(program: Command, context: Context): void {
  program
    .command('ssh-proxy')
    .summary('speak SSH on standard input and output, for ssh')
    .description(
      'Speaks SSH with the ssh that starts it as its ProxyCommand, so that ssh, scp, sftp, rsync and editors reach into ' +
        'the sandbox of a run. Each command and each forwarded port is asked of the server like an exec or a port-forward. ' +
        'See: sealwright ssh-config',
    )
    .argument('<run>', 'id, beginning of an id, name, or "latest"')
    .action(async (word: string) => {
      context.status = await proxy(context, word);
    });
}

async function proxy(context: Context, word: string): Promise<number> {
  const { environment } = context;
  if (environment.stdin.isTerminal)
    throw new UsageFailure('ssh-proxy speaks SSH, not with people: ssh starts it.', `sealwright ssh ${word}`);
  const api = await context.connect();
  const run = await liveRun(api, word);
  const [{ openSshKeys }, { serveSsh }, { pipeTransport }, { openTerminalCommand }] = await Promise.all([
    import('./key-files.ts'),
    import('./server.ts'),
    import('./transport.ts'),
    import('./remote-terminal.ts'),
  ]);
  const keys = await openSshKeys(environment);
  const interruption = new AbortController();
  const off = environment.onInterrupt(() => interruption.abort());
  try {
    const letIn = await serveSsh(pipeTransport(environment.stdin.read(), environment.stdout), {
      ...keys,
      access: {
        exec: async ({ terminal, ...request }) =>
          terminal === undefined
            ? await api.attach.openExec(run, request)
            : await openTerminalCommand(api.attach, run, { ...request, terminal }),
        connect: async (port) => api.attach.openPort(run, port),
      },
      say: (text) => void note(environment, text).catch(() => {}),
      signal: interruption.signal,
    });
    return letIn ? exitStatus.ok : exitStatus.failure;
  } finally {
    off();
  }
}

/** The id of a run whose sandbox is there. */
export async function liveRun(api: Api, word: string): Promise<string> {
  const { id, phase } = await api.runs.get(await resolveRun(api, word));
  if (phase === 'running' || phase === 'starting' || phase === 'queued') return id;
  throw new CliFailure(`The run ${id} has ended (${phase}), and its sandbox with it.`, {
    hint: `sealwright resume ${id} starts another in the same workspace.`,
  });
}
