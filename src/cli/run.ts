import type { Command } from 'commander';
import type { CreateSession, RunView, SessionView } from '../contract/schemas.ts';
import { parseId } from '../model/ids.ts';
import type { Api } from './api.ts';
import { detachHelp } from './attach.ts';
import { type Context, print } from './context.ts';
import { CliFailure, UsageFailure } from './failure.ts';
import { createProgress, type Progress } from './progress.ts';
import { isRemote, remoteRepository } from './repo-remote.ts';
import { openSessionNamed, resolveSession } from './resolve.ts';
import { type RunFlags, type RunRequest, runRequest } from './run-options.ts';
import { defaultDetachKeys } from './terminal/detach-keys.ts';

export function defineRun(program: Command, context: Context): void {
  program
    .command('run')
    .summary('run a command in a sealed sandbox')
    .description(
      'Runs a command in a sealed sandbox, streams its output and ends with its exit status.\n' +
        '125 is a failure of Sealwright, 126 a command that cannot be executed, 127 one that is not found,\n' +
        '124 a run that ran out of time, 128 + n a command that died of signal n.',
    )
    .usage('[options] [--] COMMAND [ARG…]')
    .argument('[command...]', 'the program and its arguments; put -- before it')
    .passThroughOptions()
    .option(
      '--repo <path|url>',
      'upload the git repository at this path or file: URL (HEAD with its history), or clone this https:// or ' +
        'ssh:// one inside the sandbox, as far as --egress lets it and without a sign-in',
    )
    .option('--ref <ref>', 'the branch, tag or full commit id of the URL to clone (default: its HEAD)')
    .option('--dirty', 'upload uncommitted and untracked changes too; ignored files stay here')
    .option('--session <name>', 'run in the open session of this name or id; made when the name is new')
    .option('-e, --env <name=value>', 'set a variable; NAME alone hands over yours (repeatable)', gather)
    .option('--cwd <folder>', 'where to start, in the sandbox (default: /workspace)')
    .option('--cpus <number>', 'processors it may use, such as 2 or 0.5')
    .option('--memory <size>', 'memory it may use, such as 512m or 1g')
    .option('--pids <number>', 'processes and threads it may have')
    .option('--disk <size>', 'bytes its workspace and home may take, such as 4g')
    .option('--timeout <duration>', 'wall-clock time it may take, such as 90s or 10m')
    .option('--priority <number>', 'place in the queue, -100 to 100; more goes first')
    .option('--name <name>', 'a name to find the run by')
    .option('--strict', 'refuse limits that the machine can only watch and not enforce')
    .option(
      '--egress <name>',
      'a preset or policy whose hosts it may reach, full or none (repeatable)',
      gather,
    )
    .option('--reason <text>', 'why --egress full is needed')
    .option('-t, --tty', 'run it in a terminal, and attach yours: keys, colours and resizing as with ssh')
    .option('--detach-keys <keys>', `with --tty: ${detachHelp}`, defaultDetachKeys)
    .option('--no-diff', 'do not collect what the command changes')
    .option('-d, --detach', 'print the id of the run and leave it running')
    .option('--json', 'write one JSON object a line: run, step, stdout, stderr, dropped, end')
    .option('-v, --verbose', 'say each step on standard error')
    .action(async (command: string[], flags: RunFlags) => {
      context.verbose ||= flags.verbose === true;
      context.status = await run(context, command, flags);
    });
}

/** The values of a repeatable option. */
export function gather(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

async function run(context: Context, command: readonly string[], flags: RunFlags): Promise<number> {
  const { environment } = context;
  checkRepoFlags(flags);
  const tty = flags.tty === true ? await ttyOf(context, flags) : null;
  const asked = runRequest(command, flags, environment.variables);
  const request = tty?.request(asked) ?? asked;
  const progress = createProgress(environment, context.verbose);
  const interruption = new AbortController();
  const off = environment.onInterrupt(() => interruption.abort());
  try {
    const api = await context.connect();
    const made = await startRun(context, api, { request, flags, progress, signal: interruption.signal });
    await progress.clear();
    if (flags.detach === true) return await detached(context, made, flags);
    if (tty !== null) return await tty.watch(api, made, { progress, interrupted: interruption.signal });
    const { watchRun } = await import('./watch-run.ts');
    const options = { json: flags.json === true, progress, interrupted: interruption.signal };
    return await watchRun(context, api, made, options);
  } catch (error) {
    await progress.clear();
    if (interruption.signal.aborted && isAbort(error)) return 130;
    throw error;
  } finally {
    off();
  }
}

/** What `--tty` needs is looked for before anything is made. */
async function ttyOf(context: Context, flags: RunFlags) {
  const { prepareTty } = await import('./run-tty.ts');
  return prepareTty(context, flags);
}

function checkRepoFlags({ repo, dirty, ref }: RunFlags): void {
  const url = repo !== undefined && isRemote(repo);
  if (dirty === true && (repo === undefined || url))
    throw new UsageFailure('--dirty needs --repo with a path on this machine');
  if (ref !== undefined && !url)
    throw new UsageFailure(
      '--ref needs --repo with a URL',
      'Of a path on this machine, HEAD is uploaded: check it out.',
    );
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && (error.name === 'AbortError' || isAbort(error.cause));
}

async function detached({ environment }: Context, made: RunView, flags: RunFlags): Promise<number> {
  const shown = flags.json === true ? JSON.stringify({ event: 'run', run: made }) : made.id;
  await print(environment, `${shown}\n`);
  return 0;
}

type Start = {
  readonly request: RunRequest;
  readonly flags: RunFlags;
  readonly progress: Progress;
  readonly signal: AbortSignal;
};

/** Makes the session, where one is needed, and the run. What was made for a run that is refused is removed again. */
async function startRun(context: Context, api: Api, start: Start): Promise<RunView> {
  const existing = await existingSession(api, start.flags);
  if (existing !== null) {
    if (start.flags.tty === true && start.flags.detach !== true) mayAttach(existing);
    return await api.runs.create({ ...start.request, session: existing.id });
  }
  const repo = await repositoryOf(context, api, start);
  const session = await newSession(api, start.flags, repo);
  try {
    start.signal.throwIfAborted();
    return await api.runs.create({ ...start.request, session: session.id });
  } catch (error) {
    await api.sessions.close(session.id).catch(() => {});
    throw error;
  }
}

async function existingSession(api: Api, flags: RunFlags): Promise<SessionView | null> {
  const { session: word } = flags;
  if (word === undefined) return null;
  const isId = parseId('session', word) !== null || /^ses_/.test(word) || word === 'latest';
  const found = isId
    ? await api.sessions.get(await resolveSession(api, word))
    : await openSessionNamed(api, word);
  if (found === null || flags.repo === undefined) return found;
  const has = found.repo ? 'already has a workspace made from a repository' : 'already has a workspace';
  throw new CliFailure(`The session ${found.name ?? found.id} ${has}.`, {
    hint: 'Leave out --repo to go on in it, or choose another name for a new one.',
  });
}

function mayAttach({ id, name, attach }: SessionView): void {
  if (attach.enabled) return;
  throw new CliFailure(`Attaching is off for the session ${name ?? id}, so nobody could use the terminal.`, {
    hint: `Switch it on with: sealwright sessions attach-control ${id} on (needs control:write). Or leave out --tty.`,
  });
}

async function repositoryOf(context: Context, api: Api, start: Start): Promise<CreateSession['repo'] | null> {
  const { repo, dirty, ref } = start.flags;
  if (repo === undefined) return null;
  if (isRemote(repo)) return await remoteRepository(context.environment, { repo, ref });
  const { uploadRepository } = await import('./repo-upload.ts');
  const source = { repo, dirty: dirty === true };
  return await uploadRepository(context, api, source, start.progress, start.signal);
}

async function newSession(
  api: Api,
  flags: RunFlags,
  repo: CreateSession['repo'] | null,
): Promise<SessionView> {
  try {
    return await api.sessions.create({
      ...(flags.session === undefined ? {} : { name: flags.session }),
      ...(repo === null || repo === undefined ? {} : { repo }),
      ...(flags.tty === true ? { attach: { enabled: true } } : {}),
    });
  } catch (error) {
    if (repo !== null && repo !== undefined && 'upload' in repo)
      await api.uploads.remove(repo.upload).catch(() => {});
    throw error;
  }
}
