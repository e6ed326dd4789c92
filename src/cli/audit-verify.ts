import { readFile, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import type { UnverifiedCheckpoint } from '../audit/checkpoint.ts';
import type { VerifierKey } from '../audit/signed-note.ts';
import type { StreamVerdict, Verdict } from '../audit/verify.ts';
import type { RecordingsVerdict } from '../audit/verify-recordings.ts';
import { verifiedBundles } from './audit-bundles.ts';
import { heldRecordings, recordingsText, worse } from './audit-recordings.ts';
import { type Context, print } from './context.ts';
import { escapeLine } from './escape.ts';
import { UsageFailure } from './failure.ts';
import { cliLimits } from './limits.ts';
import { createProgress } from './progress.ts';

type VerifyFlags = {
  key?: string[];
  sinceCheckpoint?: string[];
  recordings?: string;
  recording?: string;
  json?: boolean;
};

export function defineAuditVerify(audit: Command, context: Context): void {
  audit
    .command('verify')
    .description(
      'Verifies the audit log from its files alone, without a server. Ends with 0 when all is intact, 1 when\n' +
        'something was tampered with, 2 when something cannot be read.',
    )
    .argument(
      '[path...]',
      'folders of logs or streams, single segments, or bundles of evidence (default: audit/ in the data folder)',
    )
    .option(
      '--key <key>',
      'a key that is trusted, or a file of them; may be given more than once',
      (value: string, all: string[] = []) => [...all, value],
    )
    .option(
      '--since-checkpoint <file>',
      "checkpoints that were kept ('audit checkpoint' prints them): what they cover must still be there",
      (value: string, all: string[] = []) => [...all, value],
    )
    .option(
      '--recordings <folder>',
      "also hold recordings of terminals against the log: a runner's part of a data folder (default, where no path is\n" +
        'given: runner/ in the data folder, where it can be read)',
    )
    .option('--recording <file>', 'also hold what replay --output saved against one bundle of evidence')
    .option('--json', 'print the verdict as JSON')
    .action(async (paths: string[], flags: VerifyFlags) => await verify(context, paths, flags));
}

async function verify(context: Context, paths: readonly string[], flags: VerifyFlags): Promise<void> {
  const { environment } = context;
  const { exitCodeOf, verifyStreams } = await import('../audit/verify.ts');
  const chosen = paths.length === 0 ? [join(await context.dataFolder(), 'audit')] : paths;
  const keys = flags.key === undefined ? undefined : await readKeys(context, flags.key);
  const kept = await readCheckpoints(context, flags.sinceCheckpoint ?? []);
  const { recording, recordings } = flags;
  const json = flags.json === true;
  if (await verifiedBundles(context, chosen, { keys, kept, recording, recordings, json })) return;
  if (recording !== undefined)
    throw new UsageFailure(
      '--recording is held against a bundle of evidence',
      "Make one with 'sealwright audit export --run RUN', or hold all recordings of a disk against a log with --recordings.",
    );
  const progress = createProgress(environment, context.verbose);
  const verdict = await verifyStreams(
    chosen.map((path) => resolve(environment.cwd, path)),
    {
      ...(keys === undefined ? {} : { keys }),
      kept,
      threads: availableParallelism(),
      onProgress: ({ bytes, totalBytes }) =>
        void progress.show(`verifying: ${Math.floor((100 * bytes) / Math.max(totalBytes, 1))} %`),
    },
  );
  const held = await heldRecordings(context, verdict.streams, {
    given: recordings,
    isDefault: paths.length === 0,
    progress,
  });
  await progress.clear();
  const all = {
    status: worse(verdict.status, held?.status),
    streams: verdict.streams,
    ...(held === null ? {} : { recordings: held }),
  };
  await print(environment, json ? `${JSON.stringify(all, null, 2)}\n` : verdictText(all));
  context.status = exitCodeOf(all);
}

/** Keys as they are handed out, or files of them, a line each. */
export async function readKeys(context: Context, given: readonly string[]): Promise<VerifierKey[]> {
  const { parseVerifierKey } = await import('../audit/signed-note.ts');
  const keys: VerifierKey[] = [];
  for (const text of given) {
    const one = parseVerifierKey(text);
    const lines = one === null ? (await readSmall(context, text, '--key')).split('\n') : [];
    const found = lines.filter((line) => line.trim() !== '').map((line) => parseVerifierKey(line.trim()));
    if (one === null && (found.length === 0 || found.includes(null)))
      throw new UsageFailure(`${text} holds something that is no key`, 'Keys look like name+12ab34cd+AbC…=');
    keys.push(...(one === null ? (found as VerifierKey[]) : [one]));
  }
  return keys;
}

/** Checkpoints of files as `audit checkpoint` prints them; their signatures are not verified. */
export async function readCheckpoints(
  context: Context,
  files: readonly string[],
): Promise<UnverifiedCheckpoint[]> {
  const { parseCheckpoints } = await import('../audit/checkpoint.ts');
  const kept: UnverifiedCheckpoint[] = [];
  for (const file of files) {
    const found = parseCheckpoints(await readSmall(context, file, '--since-checkpoint'));
    if (found === null)
      throw new UsageFailure(
        `${file} holds no checkpoint`,
        "Keep what 'sealwright audit checkpoint' prints, as it is.",
      );
    kept.push(...found);
  }
  return kept;
}

async function readSmall({ environment }: Context, name: string, option: string): Promise<string> {
  const path = resolve(environment.cwd, name);
  try {
    const { size } = await stat(path);
    if (size > cliLimits.auditFileBytesMax) throw new UsageFailure(`${name} is too large for ${option}`);
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof UsageFailure) throw error;
    throw new UsageFailure(`${option} cannot read ${name} (${(error as NodeJS.ErrnoException).code})`);
  }
}

function verdictText(verdict: Verdict & { readonly recordings?: RecordingsVerdict }): string {
  const lines = [
    ...verdict.streams.flatMap((stream) => [headline(stream), ...details(stream)]),
    ...(verdict.recordings === undefined ? [] : recordingsText(verdict.recordings)),
  ];
  return `${[...lines, verdict.status].map(escapeLine).join('\n')}\n`;
}

function headline({ path, status, problem, events, head }: StreamVerdict): string {
  const where = [
    ...(problem?.seq === undefined ? [] : [`event ${problem.seq}`]),
    ...(problem?.line === undefined ? [] : [`line ${problem.line} of ${problem.file}`]),
  ];
  const place = where.length === 0 ? '' : ` (${where.join(', ')})`;
  const what = problem === undefined ? '' : `: ${problem.what}${place}`;
  return `${path}: ${status}${what}; ${events} events, head ${head}`;
}

function details({ checkpoint, key, dropped, lastSeq, torn, silences = [] }: StreamVerdict): string[] {
  const unsigned = checkpoint === undefined ? 0 : lastSeq - checkpoint.size;
  return [
    ...(key === undefined ? [] : [`  signed by ${key}`]),
    ...(checkpoint === undefined
      ? ['  no checkpoint: that nothing is missing at the end is not proved']
      : [`  checkpoint of ${checkpoint.size} events${unsigned === 0 ? '' : `, ${unsigned} since`}`]),
    ...(dropped === undefined ? [] : [`  events 1 to ${dropped} were dropped, as a signed tombstone says`]),
    ...(torn === undefined ? [] : [`  ${torn} bytes of an unfinished line at the end`]),
    ...silences.map(({ after, seconds }) => `  silent for ${seconds} s after event ${after}`),
  ];
}
