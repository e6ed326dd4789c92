import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { basename, resolve } from 'node:path';
import type { Command } from 'commander';
import type { VerifierKey } from '../audit/signed-note.ts';
import type { EvidenceEvent } from '../audit/verify-evidence.ts';
import { bundleText } from './audit-bundles.ts';
import { writeWhole } from './audit-events.ts';
import { readKeys } from './audit-verify.ts';
import { type Context, note } from './context.ts';
import { reportOf } from './evidence-report.ts';
import { CliFailure, UsageFailure } from './failure.ts';
import { cliLimits } from './limits.ts';
import { resolveRun, resolveSession } from './resolve.ts';
import { parseTime } from './time.ts';

type ExportFlags = {
  run?: string;
  session?: string;
  from?: string;
  to?: string;
  output: string;
  html?: string;
};
type ReportFlags = { output: string; key?: string[]; unverified?: boolean };

/** The commands for evidence that is given to somebody who has neither the server nor the log. */
export function defineAuditEvidence(audit: Command, context: Context): void {
  audit
    .command('export')
    .description(
      'Writes a bundle of evidence: the events of a run, a session or a time, with the keys, checkpoints and proofs that\n' +
        "'audit verify' needs for it, and nothing else. It is verified once it is here.",
    )
    .option('--run <run>', 'of this run')
    .option('--session <session>', 'of this session and its runs')
    .option('--from <time>', 'from this time on: 2026-01-31T12:00:00Z, or 2h for two hours ago')
    .option('--to <time>', 'up to this time')
    .requiredOption('-o, --output <file>', 'the bundle, which is there only once it is whole')
    .option('--html <file>', 'also write the report that a person reads')
    .action(async (flags: ExportFlags) => await exportEvidence(context, flags));
  audit
    .command('report')
    .description('Makes the report of a bundle of evidence, which verifies: one file that any browser opens.')
    .argument('<bundle>', 'the bundle')
    .requiredOption('-o, --output <file>', 'the report')
    .option(
      '--key <key>',
      'a key that is trusted, or a file of them; may be given more than once',
      (value: string, all: string[] = []) => [...all, value],
    )
    .option('--unverified', 'also of one that does not verify; the report says so')
    .action(async (bundle: string, flags: ReportFlags) => await report(context, bundle, flags));
}

async function exportEvidence(context: Context, flags: ExportFlags): Promise<void> {
  const { run, session, from, to } = flags;
  if (run !== undefined && session !== undefined)
    throw new UsageFailure('--run and --session do not go together');
  if (run === undefined && session === undefined && from === undefined && to === undefined)
    throw new UsageFailure('Say what of: --run, --session, --from or --to');
  const now = context.environment.clock.now();
  const api = await context.connect();
  const query = {
    run: run === undefined ? undefined : await resolveRun(api, run),
    session: session === undefined ? undefined : await resolveSession(api, session),
    since: from === undefined ? undefined : parseTime(from, '--from', now),
    until: to === undefined ? undefined : parseTime(to, '--to', now),
  };
  const path = resolve(context.environment.cwd, flags.output);
  await writeWhole(path, (await api.audit.evidence(query)).body);
  const { verifyEvidence } = await import('../audit/verify-evidence.ts');
  const verdict = await verifyEvidence(path);
  for (const line of bundleText(verdict)) await note(context.environment, line);
  if (verdict.status !== 'intact')
    throw new CliFailure('What the server gave does not verify.', {
      hint: "Look at the server's log with 'sealwright audit verify'.",
    });
  if (flags.html !== undefined) await writeReport(context, path, { output: flags.html });
}

async function report(
  context: Context,
  bundle: string,
  { key, output, unverified }: ReportFlags,
): Promise<void> {
  const keys = key === undefined ? undefined : await readKeys(context, key);
  const path = resolve(context.environment.cwd, bundle);
  await writeReport(context, path, {
    output,
    unverified: unverified === true,
    ...(keys === undefined ? {} : { keys }),
  });
}

type ReportOptions = {
  readonly output: string;
  readonly unverified?: boolean;
  readonly keys?: readonly VerifierKey[];
};

async function writeReport(
  context: Context,
  path: string,
  { output, keys, unverified }: ReportOptions,
): Promise<void> {
  const { verifyEvidence } = await import('../audit/verify-evidence.ts');
  const events: EvidenceEvent[] = [];
  const verdict = await verifyEvidence(path, {
    ...(keys === undefined ? {} : { keys }),
    onEvent: (event) => {
      if (events.length < cliLimits.reportEventsMax) events.push(event);
    },
  });
  if (verdict.status === 'unreadable') throw new CliFailure(bundleText(verdict).join('\n'));
  if (verdict.status !== 'intact' && unverified !== true)
    throw new CliFailure(bundleText(verdict).join('\n'), {
      hint: 'There is no report of what does not verify, but with --unverified.',
    });
  const text = reportOf({
    verdict,
    events,
    trusted: keys !== undefined,
    file: basename(path),
    sha256: await digestOf(path),
  });
  await writeWhole(resolve(context.environment.cwd, output), one(Buffer.from(text)));
}

async function digestOf(path: string): Promise<string> {
  const digest = createHash('sha256');
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) digest.update(chunk);
  return digest.digest('hex');
}

async function* one(bytes: Buffer): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
