import { access, constants } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { RecordingReport } from '../audit/recording-check.ts';
import type { StreamVerdict, VerdictStatus } from '../audit/verify.ts';
import type { BundleRecordings, DownloadVerdict } from '../audit/verify-download.ts';
import type { RecordingsVerdict, RecordingVerdict } from '../audit/verify-recordings.ts';
import { type Context, note } from './context.ts';
import type { Progress } from './progress.ts';
import { showBytes } from './quantities.ts';

/** Tampering is never hidden behind what cannot be read. */
export function worse(one: VerdictStatus, other: VerdictStatus = 'intact'): VerdictStatus {
  if (one === 'tampered' || other === 'tampered') return 'tampered';
  return one === 'intact' ? other : one;
}

export type HeldOptions = {
  /** The folder that was named. */
  readonly given: string | undefined;
  /** Whether this machine's own log was verified. */
  readonly isDefault: boolean;
  readonly progress: Progress;
};

/** Null where nobody asked for it: the runner's folder is often readable to the runner alone. */
export async function heldRecordings(
  context: Context,
  streams: readonly StreamVerdict[],
  { given, isDefault, progress }: HeldOptions,
): Promise<RecordingsVerdict | null> {
  if (given === undefined && !isDefault) return null;
  const folder =
    given === undefined
      ? join(await context.dataFolder(), 'runner')
      : resolve(context.environment.cwd, given);
  if (given === undefined && !(await isReadable(context, join(folder, 'runs')))) return null;
  const { verifyRecordings } = await import('../audit/verify-recordings.ts');
  return await verifyRecordings(
    folder,
    streams,
    ({ bytes, totalBytes }) =>
      void progress.show(`verifying recordings: ${Math.floor((100 * bytes) / Math.max(totalBytes, 1))} %`),
  );
}

/** Of this machine's own: that somebody else may not read it is said, and no failure. */
async function isReadable({ environment }: Context, path: string): Promise<boolean> {
  try {
    await access(path, constants.R_OK | constants.X_OK);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
      await note(environment, `recordings are not verified: you may not read ${path}`);
    return false;
  }
}

/** What a bundle that does not verify itself tells proves nothing. */
export async function heldDownload(
  context: Context,
  file: string,
  told: BundleRecordings,
  bundle: VerdictStatus,
): Promise<DownloadVerdict> {
  const path = resolve(context.environment.cwd, file);
  if (bundle !== 'intact')
    return { path, run: null, terminal: null, status: 'unreadable', problem: 'the bundle does not verify' };
  const { verifyDownload } = await import('../audit/verify-download.ts');
  return await verifyDownload(path, told);
}

const counted = (count: number) => `${count} recording${count === 1 ? '' : 's'}`;

/** Those that are as they should be are counted. */
export function recordingsText({
  folder,
  status,
  recordings,
  removed,
  problem,
}: RecordingsVerdict): string[] {
  const intact = recordings.filter((one) => one.status === 'intact');
  const verified = intact.reduce((sum, { verifiedBytes = 0 }) => sum + verifiedBytes, 0);
  const unverified = intact.reduce((sum, { unverifiedBytes = 0 }) => sum + unverifiedBytes, 0);
  return [
    `${folder}: ${status}${problem === undefined ? '' : `: ${problem}`}; ${counted(intact.length)} as recorded, ${showBytes(verified)}`,
    ...(unverified === 0 ? [] : [`  ${showBytes(unverified)} of them are not on the record yet`]),
    ...(removed === 0 ? [] : [`  ${counted(removed)} on the record went with the files of their runs`]),
    ...recordings.filter((one) => one.status !== 'intact').flatMap(recordingText),
  ];
}

function recordingText(verdict: RecordingVerdict): string[] {
  const { run, terminal, status, problem } = verdict;
  const what = problem === undefined ? '' : `: ${problem}`;
  return [`  ${run} ${terminal}: ${status}${what}`, ...reportText(verdict).map((line) => `  ${line}`)];
}

/** Of one that was fetched, with all that is known of it. */
export function downloadText(verdict: DownloadVerdict): string[] {
  const { path, run, terminal, status, problem, verifiedBytes = 0, unverifiedBytes = 0, isEnded } = verdict;
  if (run === null || terminal === null) return [`${path}: ${status}: ${problem}`];
  return [
    `${path}: ${status}; ${run} ${terminal}, ${verifiedBytes} bytes as recorded`,
    ...reportText(verdict),
    ...(unverifiedBytes === 0 ? [] : [`  ${unverifiedBytes} bytes are not on the record of the bundle yet`]),
    isEnded === true
      ? '  it ended, and nothing was recorded behind that'
      : '  it was going on: more may follow',
  ];
}

const kinds = {
  missing: 'are missing, and nobody dropped them',
  changed: 'were changed',
  cut: 'were cut off at the end, or came after this was saved',
  added: 'were added after the recording had ended',
} as const;

function reportText({
  findings = [],
  findingsLeft = 0,
  unproved = [],
  dropped = [],
}: Partial<RecordingReport>): string[] {
  return [
    ...findings.map(({ kind, segment, from, to }) => {
      const place = segment === null ? '' : ` (segment ${segment})`;
      return `  bytes ${from} to ${to}${place} ${kinds[kind]}`;
    }),
    ...(findingsLeft === 0 ? [] : [`  and ${findingsLeft} more`]),
    ...unproved.map(
      ({ from, to }) => `  bytes ${from} to ${to}: the events here neither prove nor disprove them`,
    ),
    ...dropped.map(
      ({ from, to }) => `  bytes ${from} to ${to} were dropped by the recorder, to stay within its limit`,
    ),
  ];
}
