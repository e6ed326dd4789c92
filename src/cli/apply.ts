import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { Api } from './api.ts';
import { type Checkout, localRepository, openCheckout } from './checkout.ts';
import { type Context, note, print } from './context.ts';
import type { Environment } from './environment.ts';
import { CliFailure } from './failure.ts';
import { createGit, type Git, gitComplaint } from './git.ts';
import { cliLimits } from './limits.ts';
import { type FileChange, PatchRefused, parsePatch } from './patch.ts';
import { type Concern, concernsOf, guardPaths, nameOf, showPath } from './patch-guard.ts';
import { applyArguments, conflict, type StagedOutcome, stagePatch } from './patch-stage.ts';
import { colourPatch } from './patch-text.ts';
import { resolveRun } from './resolve.ts';

type Flags = { repo?: string; yes?: boolean; allow?: string[] };

export function defineApply(program: Command, context: Context): void {
  program
    .command('apply')
    .summary('apply what a run changed to your checkout')
    .description(
      'Shows what a run changed, asks, and applies it to your checkout, all of it or nothing. Conflicts and changes\n' +
        'outside the checkout are refused. Files that would run code on this machine (hooks, editor, agent and\n' +
        'package manager settings, CI workflows, build files, new programs) are asked for one by one.',
    )
    .argument('<run>', 'id, beginning of an id, name, or "latest"')
    .option('--repo <path>', 'the checkout to apply to (default: the one you are in)')
    .option('-y, --yes', 'do not ask whether to apply; files that would run code still have to be allowed')
    .option(
      '--allow <path>',
      'allow this file although it would run code (repeatable)',
      (value, before: string[] = []) => [...before, value],
    )
    .action(async (word: string, flags: Flags) => {
      const interruption = new AbortController();
      const off = context.environment.onInterrupt(() => interruption.abort());
      try {
        context.status = await apply(context, word, flags, interruption.signal);
      } catch (error) {
        if (error instanceof PatchRefused) throw new CliFailure(error.message, { cause: error });
        if (interruption.signal.aborted)
          throw new CliFailure('Interrupted; nothing was applied.', { status: 130 });
        throw error;
      } finally {
        off();
      }
    });
}

async function apply(context: Context, word: string, flags: Flags, signal: AbortSignal): Promise<number> {
  const { environment } = context;
  const git = createGit(environment);
  const checkout = await openCheckout(git, localRepository(flags.repo ?? '.', environment.cwd));
  const api = await context.connect();
  const run = await resolveRun(api, word);
  const patch = await readPatch(api, run);
  if (patch.length === 0) {
    await note(environment, `the run ${run} changed nothing`);
    return 0;
  }
  const checked = await checkPatch(environment, { git, checkout, patch, signal });
  await show(environment, checkout, patch, checked.changes);
  await confirm(environment, checkout, checked, flags);
  signal.throwIfAborted();
  await applyPatch(environment, git, checkout, patch);
  await note(environment, `applied to ${checkout.top}: ${countFiles(checked.changes)}`);
  return 0;
}

async function readPatch(api: Api, run: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const { body, bytes } = await api.runs.diff(run);
  for await (const chunk of body) {
    size += chunk.length;
    if (size > cliLimits.patchBytesMax) {
      throw new CliFailure('The patch is larger than 512 MiB.', {
        hint: `Look at it and apply it yourself: sealwright diff ${run} > patch`,
      });
    }
    chunks.push(chunk);
  }
  if (bytes !== null && size !== bytes) throw new CliFailure('The patch came incomplete. Try again.');
  return Buffer.concat(chunks);
}

export type CheckedPatch = { readonly changes: readonly FileChange[]; readonly concerns: readonly Concern[] };

/**
 * What a patch does and what of it is to be asked for by name. Throws PatchRefused for one that leaves the
 * checkout, touches a git folder, cannot be read or does not fit. Changes nothing.
 */
export async function checkPatch(
  environment: Pick<Environment, 'platform' | 'temporary'>,
  given: { git: Git; checkout: Checkout; patch: Buffer; signal: AbortSignal },
): Promise<CheckedPatch> {
  const changes = parsePatch(given.patch, cliLimits.patchFilesMax);
  guardPaths(changes, environment.platform);
  const staged = await stagePatch({ ...given, changes, temporary: environment.temporary });
  return { changes, concerns: allConcerns(concernsOf(changes), staged) };
}

function allConcerns(named: readonly Concern[], staged: StagedOutcome): Concern[] {
  const concerns = new Map(named.map((concern) => [concern.path, concern]));
  for (const path of staged.newExecutables) {
    const because = 'it can be started by its name';
    if (!concerns.has(path)) concerns.set(path, { path, kind: 'newly executable file', because });
  }
  for (const { path, target } of staged.escapingLinks) {
    const because = `it points at ${showPath(target)}, outside the checkout or into a git folder`;
    concerns.set(path, { path, kind: 'symbolic link', because });
  }
  return [...concerns.values()];
}

async function show(
  environment: Environment,
  checkout: Checkout,
  patch: Buffer,
  changes: readonly FileChange[],
): Promise<void> {
  const { stdout } = environment;
  if (stdout.isTerminal && patch.length <= cliLimits.patchShownBytesMax) {
    for await (const text of colourPatch([patch], stdout.colour)) await stdout.write(text);
  }
  const lines = changes.map((change) => `  ${describe(change)}\n`).join('');
  await print(
    environment,
    `${countFiles(changes)} in ${showPath(Buffer.from(checkout.top).toString('latin1'))}:\n${lines}`,
  );
}

function describe(change: FileChange): string {
  const signs = { create: 'A', delete: 'D', modify: 'M', rename: 'R', copy: 'C' } as const;
  const from = change.from === change.path ? '' : `${showPath(change.from)} -> `;
  const size = change.binary ? 'binary' : `+${change.added} -${change.removed}`;
  const modes = change.newMode === '100755' && change.oldMode !== '100755' ? ', executable' : '';
  return `${signs[change.kind]} ${from}${showPath(change.path)} (${size}${modes})`;
}

function countFiles(changes: readonly FileChange[]): string {
  return changes.length === 1 ? '1 file' : `${changes.length} files`;
}

async function confirm(environment: Environment, checkout: Checkout, checked: CheckedPatch, flags: Flags) {
  const allowed = new Set(flags.allow ?? []);
  const open = checked.concerns.filter(
    ({ path }) => !allowed.has(nameOf(path)) && !allowed.has(showPath(path)),
  );
  if (flags.yes !== true && !(await agrees(environment, `Apply this to ${checkout.top}?`))) throw declined();
  const unanswered: Concern[] = [];
  for (const concern of open) {
    const question = `${showPath(concern.path)} (${concern.kind}): ${concern.because}. Apply it too?`;
    const answer = await environment.ask(`${question} [y/N] `);
    if (answer === null) unanswered.push(concern);
    else if (!isYes(answer)) throw declined(concern);
  }
  if (unanswered.length > 0) throw mustBeAllowed(unanswered);
}

async function agrees(environment: Environment, question: string): Promise<boolean> {
  const answer = await environment.ask(`${question} [y/N] `);
  if (answer !== null) return isYes(answer);
  throw new CliFailure('There is no terminal to ask on; nothing was applied.', {
    hint: 'Look at the change with sealwright diff, then give --yes.',
  });
}

function isYes(answer: string): boolean {
  return /^y(?:es)?$/i.test(answer.trim());
}

function declined(concern?: Concern): CliFailure {
  return new CliFailure(
    `${concern === undefined ? 'Declined' : `${showPath(concern.path)} was declined`}; nothing was applied.`,
  );
}

function mustBeAllowed(concerns: readonly Concern[]): CliFailure {
  const list = concerns.map(({ path, kind }) => `${showPath(path)} (${kind})`).join(', ');
  const words = concerns.map(({ path }) => `--allow ${shellWord(showPath(path))}`).join(' ');
  return new CliFailure(
    `Files that would run code on this machine have to be allowed by name: ${list}. Nothing was applied.`,
    {
      hint: `Look at each, then add: ${words}`,
    },
  );
}

function shellWord(text: string): string {
  return /^[A-Za-z0-9_./@%+=:,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Applies in one step: git checks every file before it writes the first. Throws PatchRefused on a conflict. */
export async function applyPatch(
  environment: Pick<Environment, 'temporary'>,
  git: Git,
  checkout: Checkout,
  patch: Buffer,
): Promise<void> {
  const folder = await mkdtemp(join(environment.temporary, 'sealwright-patch-'));
  try {
    const file = join(folder, 'patch');
    await writeFile(file, patch, { mode: 0o600 });
    for (const mode of [['--check'], []]) {
      const result = await git.run(['-C', checkout.top, ...applyArguments, ...mode, file]);
      if (result.status !== 0) throw conflict(gitComplaint(result.stderr) ?? 'git refuses it');
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
