import { resolve } from 'node:path';
import type { UnverifiedCheckpoint } from '../audit/checkpoint.ts';
import type { VerifierKey } from '../audit/signed-note.ts';
import type { EvidenceEvent, EvidenceStream, EvidenceVerdict } from '../audit/verify-evidence.ts';
import { downloadText, heldDownload, worse } from './audit-recordings.ts';
import { type Context, print } from './context.ts';
import { escapeLine } from './escape.ts';
import { UsageFailure } from './failure.ts';

export type BundleOptions = {
  readonly keys: readonly VerifierKey[] | undefined;
  readonly kept: readonly UnverifiedCheckpoint[];
  /** A file that was fetched, to be held against the one bundle. */
  readonly recording: string | undefined;
  /** Of a disk: are held against logs. */
  readonly recordings: string | undefined;
  readonly json: boolean;
};

/**
 * Verifies bundles of evidence, prints the verdict and sets the status; false, with nothing done, where none of the paths
 * is one.
 */
export async function verifiedBundles(
  context: Context,
  paths: readonly string[],
  { keys, kept, recording, recordings, json }: BundleOptions,
): Promise<boolean> {
  const { isEvidence, verifyEvidence } = await import('../audit/verify-evidence.ts');
  const found = paths.map((path) => resolve(context.environment.cwd, path));
  const bundles: boolean[] = [];
  for (const path of found) bundles.push(await isEvidence(path));
  if (!bundles.includes(true)) return false;
  if (bundles.includes(false))
    throw new UsageFailure('Verify logs and bundles of evidence one after the other.');
  if (recordings !== undefined)
    throw new UsageFailure(
      '--recordings are held against logs',
      'A bundle takes one that was saved: --recording.',
    );
  if (recording !== undefined && found.length > 1)
    throw new UsageFailure('--recording is held against one bundle of evidence');
  const verdicts: EvidenceVerdict[] = [];
  const { BundleRecordings } = await import('../audit/verify-download.ts');
  const told = new BundleRecordings();
  const onEvent = (event: EvidenceEvent) => told.take(event);
  const options = { kept, onEvent, ...(keys === undefined ? {} : { keys }) };
  for (const path of found) verdicts.push(await verifyEvidence(path, options));
  const held =
    recording === undefined ? null : await heldDownload(context, recording, told, verdicts[0]!.status);
  const status = worse(worstOf(verdicts), held?.status);
  const text = json
    ? JSON.stringify({ status, evidence: verdicts, ...(held === null ? {} : { recording: held }) }, null, 2)
    : verdictText(status, [...verdictLines(verdicts, keys), ...(held === null ? [] : downloadText(held))]);
  await print(context.environment, `${text}\n`);
  context.status = exitCodes[status];
  return true;
}

const exitCodes = { intact: 0, tampered: 1, unreadable: 2 } as const;

function worstOf(verdicts: readonly EvidenceVerdict[]): EvidenceVerdict['status'] {
  const statuses = verdicts.map(({ status }) => status);
  return (
    statuses.find((status) => status === 'tampered') ??
    statuses.find((status) => status !== 'intact') ??
    'intact'
  );
}

function verdictLines(verdicts: readonly EvidenceVerdict[], keys: BundleOptions['keys']): string[] {
  return verdicts.flatMap((verdict) => [...bundleText(verdict), ...(keys === undefined ? [distrust] : [])]);
}

function verdictText(status: EvidenceVerdict['status'], lines: readonly string[]): string {
  return [...lines, status].map(escapeLine).join('\n');
}

const distrust = '  held against the keys that it names itself: give the log’s own with --key';

/** What a bundle proves, or why it proves nothing, a line each. */
export function bundleText({
  path,
  status,
  problem,
  streams,
  events,
  request,
  artifacts,
}: EvidenceVerdict): string[] {
  const place = [problem?.stream, problem?.seq === undefined ? undefined : `event ${problem.seq}`];
  const where = place.filter((part) => part !== undefined).join(', ');
  if (problem !== undefined)
    return [`${path}: ${status}: ${problem.what}${where === '' ? '' : ` (${where})`}`];
  return [
    `${path}: ${status}; ${events} events, ${artifacts.length} artifacts`,
    ...(request === null
      ? []
      : [`  asked for by ${request.by} at ${request.at}: ${askedText(request.asked)}`]),
    ...streams.flatMap(streamText),
  ];
}

/** What a bundle was asked for, in words of its flags. */
export function askedText(asked: Readonly<Record<string, unknown>>): string {
  const words = Object.entries(asked).map(([name, value]) => `${name} ${String(value)}`);
  return words.join(', ');
}

function streamText(found: EvidenceStream): string[] {
  const { stream, events, first, last, isWhole, checkpoint, keys, dropped } = found;
  const extent = events === 0 ? 'no event of it' : `${events} events from ${first} to ${last}`;
  const whole = isWhole ? ', none missing in between' : ', and others may lie in between';
  return [
    `  ${stream}: ${extent}${events < 2 ? '' : whole}; checkpoint of ${checkpoint.size} events`,
    `    signed by ${keys.at(-1)}`,
    ...(dropped === undefined ? [] : [`    events 1 to ${dropped} were dropped before`]),
  ];
}
