import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { ApiError } from '../client/api-error.ts';
import type { CreateExec } from '../contract/attach-schemas.ts';
import type { TerminalId } from '../model/ids.ts';
import type { Api } from './api.ts';
import { detachHelp, statusOfEnd } from './attach.ts';
import { type Context, note } from './context.ts';
import { OutputClosed } from './environment.ts';
import { exitStatus, UsageFailure } from './failure.ts';
import { resolveRun } from './resolve.ts';
import { gather } from './run.ts';
import { environmentOf } from './run-options.ts';
import { defaultDetachKeys, parseDetachKeys } from './terminal/detach-keys.ts';
import { draws } from './terminal/escape-policy.ts';
import { TerminalFilter } from './terminal/terminal-filter.ts';

type Flags = {
  tty?: boolean;
  stdin: boolean;
  env?: string[];
  cwd?: string;
  detachKeys: string;
};

export function defineExec(program: Command, context: Context): void {
  program
    .command('exec')
    .summary('run a second command in the sandbox of a live run')
    .description(
      'Runs a command in the sandbox of a live run, within the same walls and limits, and ends with its exit\n' +
        'status; 125 is a failure of Sealwright. It gets a terminal where standard input and output are one, else\n' +
        'pipes. Attaching has to be on for the session, and it needs control:write.\n\n' +
        'Examples:\n' +
        '  sealwright exec latest -- ps aux\n' +
        '  sealwright exec build -- bash\n' +
        '  tar -c src | sealwright exec build -- tar -x -C /workspace',
    )
    .usage('[options] RUN [--] COMMAND [ARG…]')
    .argument('<run>', 'id, beginning of an id, name, or "latest"')
    .argument('[command...]', 'the program and its arguments; put -- before it')
    .passThroughOptions()
    .option('-t, --tty', 'in a terminal, or not at all')
    .option('--no-tty', 'with pipes, also from a terminal')
    .option('-n, --no-stdin', 'leave standard input alone')
    .option('-e, --env <name=value>', 'set a variable; NAME alone hands over yours (repeatable)', gather)
    .option('--cwd <folder>', 'where to start, in the sandbox (default: /workspace)')
    .option('--detach-keys <keys>', detachHelp, defaultDetachKeys)
    .action(async (word: string, words: string[], _: Flags, command: Command) => {
      const rest = behindRun(command, words);
      context.status = await exec(context, word, rest, command.opts<Flags>());
    });
}

/** The command of the sandbox: behind `--` where there is one, and options may stand before that, too. */
function behindRun(command: Command, words: readonly string[]): readonly string[] {
  if (words[0]?.startsWith('-') !== true) return words;
  const end = words.indexOf('--');
  const { operands, unknown } = command.parseOptions(end < 0 ? ['-'] : words.slice(0, end));
  if (operands.length > 0 || unknown.length > 0)
    throw new UsageFailure(
      'The command is not clear.',
      'Put -- before it: sealwright exec latest --cwd /tmp -- ls -l',
    );
  return words.slice(end + 1);
}

async function exec(
  context: Context,
  word: string,
  command: readonly string[],
  flags: Flags,
): Promise<number> {
  const { environment } = context;
  if (command.length === 0)
    throw new UsageFailure('There is no command.', 'Name it after --: sealwright exec latest -- ps aux');
  const env = environmentOf(flags.env ?? [], environment.variables);
  const request: CreateExec = {
    command: [...command],
    ...(Object.keys(env).length === 0 ? {} : { env }),
    ...(flags.cwd === undefined ? {} : { cwd: flags.cwd }),
  };
  const hasTerminal = flags.tty ?? environment.terminal !== null;
  const api = await context.connect();
  const run = await resolveRun(api, word);
  return hasTerminal
    ? await inTerminal(context, api, run, request, flags.detachKeys)
    : await withPipes(context, api, run, request, flags.stdin);
}

async function inTerminal(
  context: Context,
  api: Api,
  run: string,
  request: CreateExec,
  detachKeys: string,
): Promise<number> {
  const { environment } = context;
  const { interact, sizeOf, statusOfSignal, terminalOf } = await import('./terminal/interact.ts');
  const { terminalVariables } = await import('./terminal/terminal-variables.ts');
  const terminal = terminalOf(environment, 'exec --tty');
  const env = { ...terminalVariables(environment.variables), ...request.env };
  let id: TerminalId | null = null;
  const end = await interact(context, api, terminal, {
    async ticket(first) {
      if (!first && id !== null) return await api.attach.ticket(run, { role: 'driver', terminal: id });
      const ticket = await api.attach.execTicket(run, { ...request, env, terminal: sizeOf(terminal) });
      id = ticket.terminal;
      return ticket;
    },
    from: 0,
    role: 'driver',
    detachKeys: parseDetachKeys(detachKeys),
    hello: () => null,
  });
  if (end.by === 'command') return statusOfEnd(end);
  if (end.by === 'signal') return statusOfSignal(end.signal);
  if (end.by === 'user') {
    await note(
      environment,
      `left it; attach within half a minute: sealwright attach ${run} --terminal ${id}`,
    );
    return exitStatus.ok;
  }
  const status = await endedMeanwhile(api, run, id, end.error);
  if (status === null) throw end.error;
  return status;
}

/** The status of a command that ended while the connection was broken; null where that is not what happened. */
async function endedMeanwhile(
  api: Api,
  run: string,
  id: TerminalId | null,
  error: Error,
): Promise<number | null> {
  if (id === null || !(error instanceof ApiError) || error.code !== 'state.conflict') return null;
  const terminals = await api.attach.terminals(run);
  const code = terminals.find((terminal) => terminal.id === id)?.exitCode;
  return code === undefined ? null : statusOfEnd({ code });
}

async function withPipes(
  { environment }: Context,
  api: Api,
  run: string,
  request: CreateExec,
  takesInput: boolean,
): Promise<number> {
  const { statusOfSignal } = await import('./terminal/interact.ts');
  const remote = await api.attach.openExec(run, request);
  let interrupted: NodeJS.Signals | null = null;
  const off = environment.onInterrupt((signal) => {
    interrupted = signal;
    remote.close();
  });
  // Nobody types into a pipe: what a terminal holds is for the shell.
  if (takesInput && !environment.stdin.isTerminal) {
    // A command that ends without reading all of it is no failure.
    pipeline(environment.stdin.read(), remote.stdin).catch(() => {});
  } else remote.stdin.end();
  try {
    await Promise.all([copied(remote.stdout, environment.stdout), copied(remote.stderr, environment.stderr)]);
    return statusOfEnd(await remote.exit);
  } catch (error) {
    if (interrupted !== null) return statusOfSignal(interrupted);
    if (error instanceof OutputClosed) return exitStatus.brokenPipe;
    throw error;
  } finally {
    off();
    remote.close();
  }
}

/** Byte for byte; to a terminal, which nobody gave to the command, as far as it only draws. */
async function copied(from: AsyncIterable<Uint8Array>, to: Context['environment']['stdout']): Promise<void> {
  if (!to.isTerminal) {
    for await (const bytes of from) await to.write(bytes);
    return;
  }
  const filter = new TerminalFilter(draws);
  for await (const bytes of from) await to.write(filter.bytes(bytes));
  await to.write(filter.restore());
}
