import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { openAuditLog, type SignedAuditLog } from '../src/audit/log.ts';
import { openSinks, type Sinks } from '../src/audit/sinks/sinks.ts';
import { systemClock } from '../src/base/clock.ts';
import type { SinkSettings } from '../src/contract/sinks.ts';
import { newId } from '../src/model/ids.ts';
import { openRedactor } from '../src/redaction/redactor.ts';
import { SecretValues } from '../src/redaction/secret-values.ts';
import { attempt } from '../tests/support/audit.ts';
import {
  dialects,
  openFileReceiver,
  openHttpReceiver,
  openSyslogReceiver,
  type Receiver,
} from '../tests/support/sink-receivers.ts';
import { printRows, type Row } from './row.ts';

const turns = 12;
const turnMs = 250;
const writers = 64;
const drainEvents = 20_000;
const drainRounds = 3;

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;

/** What sinks cost the log, with a receiver that takes and one that never answers, and how fast each kind catches up. */
export async function benchSinks(): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-bench-'));
  try {
    const rows: Row[] = [];
    for (const behave of ['take', 'stall'] as const)
      rows.push(await benchAppends(join(folder, behave), behave));
    for (const kind of ['loki', 'otlp', 'webhook', 'syslog', 'file'] as const)
      rows.push(await benchDrain(join(folder, kind), kind));
    return rows;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function openLog(folder: string): Promise<SignedAuditLog> {
  return await openAuditLog({
    folder,
    stream: 'control',
    clock: systemClock,
    newId: () => newId('event', systemClock.now()),
    redactor: openRedactor(new SecretValues()),
    signingKeys: [generateKeyPairSync('ed25519').privateKey],
  });
}

async function start(folder: string, log: SignedAuditLog, receiver: Receiver, name: string): Promise<Sinks> {
  const settings: SinkSettings = {
    ...{ name, format: 'event', secret: null, authorities: [], identity: null },
    ...receiver.settings,
  };
  return await openSinks({
    settings: [settings],
    folder,
    stateFolder: `${folder}-${name}`,
    heads: { headOf: () => log.head().seq, onAdvance: (listener) => log.onAppended(listener) },
    hostname: 'bench.example',
    version: '0.0.0',
    clock: systemClock,
    random: Math.random,
    onProblem: () => undefined,
  });
}

async function appendsPerSecond(log: SignedAuditLog): Promise<number> {
  const begin = systemClock.monotonic();
  let appends = 0;
  const write = async () => {
    while (systemClock.monotonic() - begin < turnMs) {
      await log.append(attempt('run.create'));
      appends += 1;
    }
  };
  await Promise.all(Array.from({ length: writers }, write));
  return (appends * 1000) / (systemClock.monotonic() - begin);
}

/** Turns without a sink and with one, because a disk's speed changes from one second to the next. */
async function benchAppends(folder: string, behave: 'take' | 'stall'): Promise<Row> {
  const log = await openLog(folder);
  const receiver = await openHttpReceiver(dialects.webhook, { tls: false });
  receiver.behave = behave;
  const [alone, beside]: [number[], number[]] = [[], []];
  for (let turn = 0; turn < turns; turn += 1) {
    alone.push(await appendsPerSecond(log));
    const sinks = await start(folder, log, receiver, 'hook');
    beside.push(await appendsPerSecond(log));
    await sinks.close();
  }
  await receiver.close();
  await log.close();
  return {
    what: `durable appends, ${writers} writers, beside a webhook whose receiver ${behave === 'take' ? 'takes' : 'never answers'}`,
    figure: `${Math.round(median(beside))}/s`,
    peer: `${Math.round(median(alone))}/s without`,
    ratio: median(beside) / median(alone),
    note: 'the receiver runs in the same process',
  };
}

function openReceiver(
  folder: string,
  kind: 'loki' | 'otlp' | 'webhook' | 'syslog' | 'file',
): Promise<Receiver> {
  if (kind === 'file') return Promise.resolve(openFileReceiver(`${folder}.out`));
  return kind === 'syslog' ? openSyslogReceiver() : openHttpReceiver(dialects[kind]);
}

/** A log that is there already, from the first event to the last. */
async function benchDrain(
  folder: string,
  kind: 'loki' | 'otlp' | 'webhook' | 'syslog' | 'file',
): Promise<Row> {
  const log = await openLog(folder);
  for (let events = 0; events < drainEvents; events += 1_000)
    await Promise.all(Array.from({ length: 1_000 }, () => log.append(attempt('run.create'))));
  const receiver = await openReceiver(folder, kind);
  const rates: number[] = [];
  for (let round = 0; round < drainRounds; round += 1) {
    const begin = systemClock.monotonic();
    const sinks = await start(folder, log, receiver, `r${round}`);
    while ((await sinks.status())[0]!.streams[0]!.lagEvents > 0) await wait(5);
    rates.push((drainEvents * 1000) / (systemClock.monotonic() - begin));
    await sinks.close();
  }
  await receiver.close();
  await log.close();
  const spread = `${Math.round(Math.min(...rates))}–${Math.round(Math.max(...rates))}`;
  return {
    what: `catching up: ${kind}`,
    figure: `${Math.round(median(rates))} events/s`,
    peer: spread,
    ratio: null,
  };
}

if (import.meta.main) printRows(await benchSinks(), process.argv.includes('--json'));
