import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync, hash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { AuditEvent } from '../../src/audit/event.ts';
import { KeyFile } from '../../src/audit/key-file.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { listSegments } from '../../src/audit/segments.ts';
import { verifyStreams } from '../../src/audit/verify.ts';
import { attempt, eventId, manualClock, temporaryFolder } from './audit.ts';

const root = join(import.meta.dirname, '..', '..');

/** One file, which starts in a fraction of the time. */
export function bundledWriter(
  name: 'crash-writer' | 'writer-server' = 'crash-writer',
): { readonly path: string } & Disposable {
  const folder = temporaryFolder();
  const path = join(folder.path, `${name}.mjs`);
  // Its native part is beside its own files.
  const koffi = createRequire(import.meta.url).resolve('koffi');
  const options = ['--bundle', '--format=esm', '--platform=node', '--target=node24', '--log-level=warning'];
  const paths = [`--outfile=${path}`, `--alias:koffi=${koffi}`, `--external:${koffi}`];
  const source = join(import.meta.dirname, `${name}.ts`);
  execFileSync(join(root, 'node_modules/.bin/esbuild'), [source, ...options, ...paths]);
  return { path, [Symbol.dispose]: () => folder[Symbol.dispose]() };
}

export function makeKey(folder: string, name = 'key'): void {
  const { privateKey } = generateKeyPairSync('ed25519');
  writeFileSync(join(folder, `${name}.pem`), privateKey.export({ type: 'pkcs8', format: 'pem' }), {
    mode: 0o600,
  });
}

/** Writes a stream `control` of so many events, signed by the key that is there. */
export async function fillTo(folder: string, size: number): Promise<void> {
  const { keys } = await KeyFile.open(join(folder, 'key.pem'));
  const options = { folder, stream: 'control', clock: manualClock(), newId: eventId, signingKeys: keys };
  const log = await openAuditLog(options);
  for (let at = log.head().seq; at < size; at = log.head().seq)
    await Promise.all(
      Array.from({ length: Math.min(1_000, size - at) }, (_, index) =>
        log.append(attempt(`fill.${at + index}`)),
      ),
    );
  await log.close();
}

export type Ended = { readonly output: string; readonly code: number | null; readonly signal: string | null };

/** Runs a program to its end; `onOutput` may end it. */
export async function ended(
  words: readonly string[],
  onStart: (child: { kill(signal: 'SIGKILL'): void }, opened: Promise<void>) => void = () => undefined,
): Promise<Ended> {
  // One thread makes every call on files, so that they have an order.
  const env = { UV_THREADPOOL_SIZE: '1' };
  const child = spawn(words[0]!, words.slice(1), { env, stdio: ['ignore', 'pipe', 'ignore'] });
  let output = '';
  const opened = Promise.withResolvers<void>();
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    if (output.startsWith('opened\n')) opened.resolve();
  });
  onStart(child, opened.promise);
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  opened.resolve();
  return { output, code, signal };
}

export type Told = {
  readonly acknowledged: {
    readonly id: string;
    readonly seq: number;
    readonly hash: string;
    readonly action: string;
  }[];
  readonly refused: string[];
};

/** What a writer said; a line that was cut off was not heard. */
export function toldIn(output: string): Told {
  const lines = output.slice(0, output.lastIndexOf('\n') + 1).split('\n');
  const acknowledged = lines
    .filter((line) => line.startsWith('+ '))
    .map((line) => {
      const [, id, seq, hash, action] = line.split(' ') as [string, string, string, string, string];
      return { id, seq: Number(seq), hash, action };
    });
  const refused = lines.filter((line) => line.startsWith('- ')).map((line) => line.slice(2));
  return { acknowledged, refused };
}

/**
 * What a log must be after whatever befell its writers: intact, with every act that was acknowledged where it was said to
 * be, none twice, and none that was refused.
 */
export async function keepsItsWord(
  folder: string,
  told: readonly Told[],
  stream = 'control',
): Promise<AuditEvent[]> {
  const { status, streams } = await verifyStreams([join(folder, stream)]);
  assert.equal(status, 'intact', JSON.stringify(streams));
  const lines: string[] = [];
  for (const { path } of await listSegments(join(folder, stream)))
    lines.push(...readFileSync(path, 'utf8').split('\n').slice(0, -1));
  const events = lines.map((line) => JSON.parse(line) as AuditEvent);
  for (const { id, seq, hash: said, action } of told.flatMap(({ acknowledged }) => acknowledged)) {
    assert.deepEqual(
      [events[seq - 1]?.id, events[seq - 1]?.action],
      [id, action],
      'acknowledged, and not there',
    );
    assert.equal(hash('sha256', `\0${lines[seq - 1]}`, 'hex'), said);
  }
  assert.equal(new Set(events.map(({ id }) => id)).size, events.length, 'no event is there twice');
  const acts = events.filter(({ phase }) => phase === 'attempt').map(({ action }) => action);
  assert.equal(new Set(acts).size, acts.length, 'no act is there twice');
  const refused = new Set(told.flatMap((one) => one.refused));
  assert.deepEqual(
    acts.filter((action) => refused.has(action)),
    [],
    'refused, and there',
  );
  return events;
}

export function forget(folder: string): void {
  rmSync(join(folder, 'control'), { recursive: true, force: true });
  for (const name of ['key.pem', 'key.next.pem']) rmSync(join(folder, name), { force: true });
}
