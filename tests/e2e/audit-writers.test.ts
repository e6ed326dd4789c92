import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { AuditEvent } from '../../src/audit/event.ts';
import { parseVerifierKey } from '../../src/audit/signed-note.ts';
import { type VerifyOptions, verifyStreams } from '../../src/audit/verify.ts';
import { temporaryFolder } from '../support/audit.ts';
import { bundledWriter, keepsItsWord, makeKey, toldIn } from '../support/crash-runs.ts';
import { type Connection, Writers } from '../support/writer-processes.ts';

/**
 * Processes that write logs in one folder: each its own stream, which records the other's, none another's; a crowd of clients
 * appends to all of them at once.
 */

const streams = ['control', 'control-2'] as const;
type Stream = (typeof streams)[number];
const clients = 8;
const rounds = 60;
/** What a client sends without waiting for answers. */
const burst = 5;
/** When the first client has sent what it sends to the one writer, and later to the other. */
const killedIn = [20, 41];
const races = 10;
const program = bundledWriter('writer-server');
after(() => program[Symbol.dispose]());

/** What clients were answered, by stream, and how many connections were lost before everything was. */
type Heard = { readonly answers: Record<Stream, string[]>; lost: number };

/**
 * Appends to one stream after the other, and has it sign now and then; what a writer that was killed did not answer is not sent
 * again. `onSent` is called while a round's acts are on their way.
 */
async function client(
  index: number,
  writers: Writers,
  heard: Heard,
  onSent: (round: number, stream: Stream) => void,
): Promise<void> {
  const open = new Map<Stream, Connection>();
  for (let round = 0; round < rounds; round += 1) {
    const stream = streams[(index + round) % streams.length]!;
    const connection = open.get(stream) ?? (await writers.connect(stream));
    open.set(stream, connection);
    const acts = Array.from({ length: burst }, (_, act) => `c${index}.${round * burst + act}`);
    connection.send([...acts, 'sign']);
    onSent(round, stream);
    const answers = await connection.answers(acts.length + 1);
    heard.answers[stream].push(...answers);
    if (answers.length > acts.length) continue;
    heard.lost += 1;
    open.delete(stream);
  }
  for (const connection of open.values()) connection.close();
}

/** Both writers and all clients, to the end; the first client's rounds are told to `onSent`. */
async function crowd(folder: string, onSent: (writers: Writers, round: number, stream: Stream) => void) {
  for (const stream of streams) makeKey(folder, stream);
  await using writers = new Writers(program.path, folder);
  const keys = await Promise.all(streams.map((stream) => writers.open(stream)));
  const heard: Heard = { answers: { control: [], 'control-2': [] }, lost: 0 };
  const first = (round: number, stream: Stream) => onSent(writers, round, stream);
  const all = Array.from({ length: clients }, (_, index) =>
    client(index, writers, heard, index === 0 ? first : () => undefined),
  );
  await Promise.all(all);
  await writers.close();
  const told = (stream: Stream) => toldIn(heard.answers[stream].map((line) => `${line}\n`).join(''));
  return { lost: heard.lost, keys, told: { control: told('control'), 'control-2': told('control-2') } };
}

type Ended = Awaited<ReturnType<typeof crowd>>;

/** Both streams are as they must be, and so is the folder. Returns how many acts were acknowledged. */
async function holdsUp(folder: string, { told, keys }: Ended): Promise<number> {
  const audit = join(folder, 'audit');
  for (const stream of streams) {
    assert.deepEqual(told[stream].refused, []);
    const events = await keepsItsWord(audit, [told[stream]], stream);
    for (const [index, event] of events.entries())
      assert.deepEqual([event.seq, event.stream], [index + 1, stream]);
    for (let index = 0; index < clients; index += 1) inOrder(events, index);
    recordsTheOther(events);
  }
  const verdict = async (options: VerifyOptions) => (await verifyStreams([audit], options)).status;
  const trusted = keys.map((key) => parseVerifierKey(key)!);
  assert.equal(await verdict({}), 'intact');
  assert.equal(await verdict({ keys: trusted }), 'intact');
  for (const one of trusted) assert.equal(await verdict({ keys: [one] }), 'tampered', 'control: of one key');
  return streams.reduce((sum, stream) => sum + told[stream].acknowledged.length, 0);
}

/** A client's acts stand as it sent them. */
function inOrder(events: readonly AuditEvent[], client: number): void {
  const acts = events.filter(({ action }) => action.startsWith(`c${client}.`));
  const numbers = acts.map(({ action }) => Number(action.split('.')[1]));
  assert(numbers.length > 0);
  assert.deepEqual(
    numbers,
    numbers.toSorted((a, b) => a - b),
  );
}

/** Again and again while it grew, and in its last word. */
function recordsTheOther(events: readonly AuditEvent[]): void {
  const recorded = (action: string) =>
    events.filter((event) => event.action === action).flatMap(({ data }) => sizesIn(data));
  assert(new Set(recorded('audit.heartbeat')).size > 3, 'its growth is on record');
  assert.equal(recorded('audit.closed').length, 1);
}

function sizesIn(data: AuditEvent['data']): number[] {
  const { checkpoints } = data as { checkpoints: { size: number }[] };
  return checkpoints.map(({ size }) => size);
}

describe('two writers and eight clients', () => {
  test('leave two linear streams that record each other, with every act once and in its client’s order', async () => {
    using folder = temporaryFolder();
    const ended = await crowd(folder.path, () => undefined);
    assert.equal(await holdsUp(folder.path, ended), clients * rounds * burst);
    assert.equal(ended.lost, 0);
  });

  test('lose nothing that was acknowledged where each writer is killed once and started anew', async () => {
    using folder = temporaryFolder();
    const killed: Stream[] = [];
    const ended = await crowd(folder.path, (writers, round, stream) => {
      if (!killedIn.includes(round)) return;
      writers.restart(stream);
      killed.push(stream);
    });
    assert.deepEqual(killed, streams);
    const acknowledged = await holdsUp(folder.path, ended);
    assert(ended.lost > 0, 'control: acts were on their way');
    assert(acknowledged >= clients * burst * (rounds - streams.length), `${acknowledged} acknowledged`);
  });
});

describe('two writers of one stream', () => {
  test(`that open it at once, ${races} times: one gets it, the other is refused`, async () => {
    using folder = temporaryFolder();
    makeKey(folder.path, 'control');
    await using writers = new Writers(program.path, folder.path);
    for (let race = 0; race < races; race += 1) {
      const both = await Promise.all([writers.ready('control'), writers.ready('control')]);
      for (const writer of both) writer.go();
      const said = await Promise.all(both.map((writer) => writer.said()));
      assert.deepEqual(said.map((line) => line.split(' ')[0]).sort(), ['open', 'refused']);
      assert(said.includes('refused audit.unavailable'));
      const winner = both[said[0]!.startsWith('open') ? 0 : 1];
      // However it goes, the stream is free.
      await (race % 2 === 0 ? winner.kill() : winner.close());
    }
    const events = await keepsItsWord(join(folder.path, 'audit'), []);
    assert.equal(events.filter(({ action }) => action === 'audit.opened').length, 1);
    assert.equal(events.filter(({ action }) => action === 'audit.closed').length, races / 2);
  });
});
