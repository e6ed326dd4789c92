import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseCheckpoint, signCheckpoint, type UnverifiedCheckpoint } from '../../src/audit/checkpoint.ts';
import { type EventId, type NewEvent, noHash } from '../../src/audit/event.ts';
import { linkTo } from '../../src/audit/line-hash.ts';
import { openAuditLog, type SignedAuditLog } from '../../src/audit/log.ts';
import { leafHash, TreeEdge } from '../../src/audit/merkle.ts';
import { noteSigner, parseVerifierKey, type VerifierKey } from '../../src/audit/signed-note.ts';
import { type Verdict, type VerifyOptions, verifyStreams } from '../../src/audit/verify.ts';
import { attempt, eventId, manualClock, temporaryFolder } from './audit.ts';

/** The files of a folder of logs, by their paths in it. */
export type LogFiles = ReadonlyMap<string, Buffer>;

/** Two streams that record each other, as real writers wrote them; the first is `control`. */
export type SignedStreams = {
  /** Some time ago, after its checkpoint. */
  readonly older: LogFiles;
  /** When everything was signed. */
  readonly signed: LogFiles;
  /** Later: `tailEvents` of control are behind its checkpoint. */
  readonly growing: LogFiles;
  readonly keys: Readonly<Record<StreamName, VerifierKey>>;
  readonly privateKeys: Readonly<Record<StreamName, KeyObject>>;
  /** Checkpoints of both that were kept with `signed`. */
  readonly kept: readonly UnverifiedCheckpoint[];
};
export const streamNames = ['control', 'runner-aaaaaa'] as const;
export type StreamName = (typeof streamNames)[number];

export const tailEvents = 6;
const rounds = 5;
const eventsInRound = 6;

export const segmentFile = (stream: string) => `${stream}/0000000000000001.jsonl`;
export const checkpointOf = (stream: string) => `${stream}/checkpoint`;

export async function makeSignedStreams(): Promise<SignedStreams> {
  using folder = temporaryFolder();
  const privateKeys = { control: newKey(), 'runner-aaaaaa': newKey() };
  const logs: SignedAuditLog[] = [];
  for (const stream of streamNames) logs.push(await openStream(folder.path, stream, privateKeys[stream]));
  let older: LogFiles = new Map();
  for (let round = 0; round < rounds; round += 1) {
    await liveOn(logs, round);
    if (round === 1) older = filesIn(folder.path);
  }
  const signed = filesIn(folder.path);
  const kept = logs.map((log) => parseCheckpoint(log.checkpoint().note)!);
  for (let index = 0; index < tailEvents; index += 1) await logs[0]!.append(eventOf(rounds, index));
  const growing = filesIn(folder.path);
  const [control, runner] = logs.map((log) => parseVerifierKey(log.key())!);
  for (const log of logs) await log.close();
  const keys = { control: control!, 'runner-aaaaaa': runner! };
  return { older, signed, growing, kept, keys, privateKeys };
}

export const newKey = (): KeyObject => generateKeyPairSync('ed25519').privateKey;

async function openStream(folder: string, stream: string, key: KeyObject): Promise<SignedAuditLog> {
  return await openAuditLog({ folder, stream, clock: manualClock(), newId: eventId, signingKeys: [key] });
}

/** Events, then a heartbeat in each stream about the other, then a checkpoint that holds it. */
async function liveOn(logs: readonly SignedAuditLog[], round: number): Promise<void> {
  for (const log of logs)
    for (let index = 0; index < eventsInRound; index += 1) await log.append(eventOf(round, index));
  const signed: { origin: string; size: number; root: string }[] = [];
  for (const log of logs) {
    const { origin, size, root } = await log.sign();
    signed.push({ origin, size, root: root.toString('base64') });
  }
  for (const [index, log] of logs.entries()) {
    await log.append(heartbeat(signed.toSpliced(index, 1)));
    await log.sign();
  }
}

function heartbeat(checkpoints: { origin: string; size: number; root: string }[]): NewEvent {
  return {
    action: 'audit.heartbeat',
    phase: 'note',
    actor: { id: 'system:audit', kind: 'system' },
    resource: { kind: 'audit', id: 'x' },
    decision: { allow: true, rule: 'audit:self' },
    outcome: 'succeeded',
    data: { checkpoints },
  };
}

/** With every member that events can have. */
function eventOf(round: number, index: number): NewEvent {
  const event = attempt(`run.${round}-${index}`, {
    request: { id: 'req_1', address: '127.0.0.1', userAgent: 'agent "é" \u0007' },
    actor: { id: 'agent:one', kind: 'agent', token: 'tok_1', onBehalfOf: 'user:ann' },
    data: { n: 10 + index, text: 'café', list: [true, null, 1.5], nested: { deep: 'x' } },
  });
  if (index % 2 === 0) return event;
  return { ...event, phase: 'outcome', outcome: 'failed', of: `evt_${round}${index}` as EventId };
}

/** But locks, of which no verdict depends. */
export function filesIn(folder: string): LogFiles {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true });
  const files = names.filter((entry) => entry.isFile() && entry.name !== 'lock');
  return new Map(
    files.map(({ parentPath, name }) => {
      const path = join(parentPath, name);
      return [path.slice(folder.length + 1), readFileSync(path)];
    }),
  );
}

export function linesOf(files: LogFiles, stream: string): string[] {
  return files.get(segmentFile(stream))!.toString('utf8').split('\n').slice(0, -1);
}

export function withFile(files: LogFiles, path: string, content: Buffer | string | null): LogFiles {
  const changed = new Map(files);
  if (content === null) changed.delete(path);
  else changed.set(path, Buffer.from(content));
  return changed;
}

export function withLines(files: LogFiles, stream: string, lines: readonly string[]): LogFiles {
  return withFile(files, segmentFile(stream), lines.map((line) => `${line}\n`).join(''));
}

/**
 * The same lines with hashes made anew from the line `from` on, as somebody would who can write the file; `before` events
 * come before the first.
 */
export function rechained(lines: readonly string[], from = 0, before = 0): string[] {
  let prev = from === 0 ? noHash : linkTo(Buffer.from(lines[from - 1]!), 2);
  return lines.map((line, index) => {
    if (index < from) return line;
    const linked = line
      .replace(/"prev":"[0-9a-f]{64}"/, `"prev":"${prev}"`)
      .replace(/"seq":\d+/, `"seq":${before + index + 1}`);
    prev = linkTo(Buffer.from(linked), 2);
    return linked;
  });
}

/** The whole stream by another key, under the same origin unless told: what somebody makes who has everything but the key. */
export function remade(
  files: LogFiles,
  stream: string,
  lines: readonly string[],
  key: KeyObject,
  origin = originIn(files, stream),
): LogFiles {
  const { text } = noteSigner(origin, key).key;
  const named = lines.map((line) =>
    line
      .replace(/"key":"[^"]+"/, `"key":"${text}"`)
      .replace(/"origin":"[^"]+"(?=\},"decision)/, `"origin":"${origin}"`),
  );
  const chained = rechained(named);
  return withLines(withFile(files, checkpointOf(stream), signedOver(chained, origin, key)), stream, chained);
}

export function originIn(files: LogFiles, stream: string): string {
  return parseCheckpoint(files.get(checkpointOf(stream))!.toString('utf8'))!.origin;
}

/** A checkpoint of these lines, behind those that were `dropped`. */
export function signedOver(
  lines: readonly string[],
  origin: string,
  key: KeyObject,
  dropped: { readonly size: number; readonly peaks: readonly Buffer[] } = { size: 0, peaks: [] },
): string {
  const edge = new TreeEdge(dropped.size, dropped.peaks);
  for (const line of lines) edge.append(leafHash(Buffer.from(line)));
  const checkpoint = { origin, size: edge.size, root: edge.root(), extensions: [] };
  return signCheckpoint(checkpoint, noteSigner(origin, key)).note;
}

/** What a folder of logs is called. */
export const logFolder = 'audit';

/** A folder that holds one state of a log after the other. */
export class LogFolder {
  readonly #folder = temporaryFolder();
  #there: LogFiles = new Map();

  get path(): string {
    return join(this.#folder.path, logFolder);
  }

  hold(files: LogFiles): void {
    for (const name of this.#there.keys()) if (!files.has(name)) this.#remove(name);
    for (const [name, content] of files) {
      if (this.#there.get(name) === content) continue;
      const path = join(this.path, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content);
    }
    this.#there = files;
  }

  /** An empty folder goes with its last file. */
  #remove(name: string): void {
    rmSync(join(this.path, name));
    const folder = dirname(join(this.path, name));
    if (folder !== this.path && readdirSync(folder).length === 0) rmSync(folder, { recursive: true });
  }

  async verdict(files: LogFiles, options: VerifyOptions = {}): Promise<Verdict> {
    this.hold(files);
    return await verifyStreams([this.path], options);
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }
}
