import { once } from 'node:events';
import { readdirSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { checkpointFile, parseNewest } from '../../src/audit/checkpoint.ts';
import { Heartbeat } from '../../src/audit/heartbeat.ts';
import { KeyFile } from '../../src/audit/key-file.ts';
import { openAuditLog, type SignedAuditLog } from '../../src/audit/log.ts';
import { systemClock } from '../../src/base/clock.ts';
import { Fault } from '../../src/contract/faults.ts';
import type { CheckpointClaim } from '../../src/contract/runner.ts';
import { newId } from '../../src/model/ids.ts';
import { attempt } from './audit.ts';

/**
 * Writes a stream of `<folder>/audit`, signed by `<folder>/<stream>.pem`, for whoever connects to `<folder>/<stream>.sock`: a
 * line there is an act, answered as `crash-writer.ts` says what became of one, or `sign`, answered `signed`. Its heartbeats
 * record the newest checkpoint of every other stream in the folder.
 *
 * Says `ready`, waits for a line on stdin, then says `open` and its key, or `refused` and the code of the fault. Closes when
 * stdin ends, also with whoever started it, and says `closed`.
 */
const [folder, stream] = process.argv.slice(2) as [string, string];
const audit = join(folder, 'audit');
const heartbeatMs = 10;

const orders = createInterface({ input: process.stdin });
say('ready');
await once(orders, 'line');
const log = await open();
if (log !== null) await serve(log);
orders.close();

function say(line: string): void {
  writeSync(1, `${line}\n`);
}

async function open(): Promise<SignedAuditLog | null> {
  const { keys } = await KeyFile.open(join(folder, `${stream}.pem`));
  const newEventId = () => newId('event', systemClock.now());
  try {
    return await openAuditLog({
      folder: audit,
      stream,
      clock: systemClock,
      newId: newEventId,
      signingKeys: keys,
    });
  } catch (error) {
    say(`refused ${error instanceof Fault ? error.code : String(error)}`);
    return null;
  }
}

async function serve(log: SignedAuditLog): Promise<void> {
  const heartbeat = new Heartbeat({ log, stream, others: checkpointsOfOthers, everyMs: heartbeatMs });
  const sockets = new Set<Socket>();
  const server = await listening((socket) => {
    sockets.add(socket);
    answer(log, socket);
  });
  say(`open ${log.key()}`);
  await once(orders, 'close');
  server.close();
  for (const socket of sockets) socket.destroy();
  await heartbeat.close();
  await log.close();
  say('closed');
}

/** Whoever has the stream has its socket: one that is there is left of a writer that was killed. */
async function listening(onSocket: (socket: Socket) => void): Promise<Server> {
  const path = join(folder, `${stream}.sock`);
  rmSync(path, { force: true });
  const server = createServer(onSocket).listen(path);
  await once(server, 'listening');
  return server;
}

/** Every line at once, so that it is the log that keeps their order. */
function answer(log: SignedAuditLog, socket: Socket): void {
  socket.on('error', () => undefined);
  createInterface({ input: socket }).on('line', async (line) => {
    const said = line === 'sign' ? await signed(log) : await became(log, line);
    socket.write(`${said}\n`);
  });
}

async function signed(log: SignedAuditLog): Promise<string> {
  await log.sign();
  return 'signed';
}

async function became(log: SignedAuditLog, action: string): Promise<string> {
  try {
    const { id, seq, hash } = await log.append(attempt(action));
    return `+ ${id} ${seq} ${hash} ${action}`;
  } catch {
    return `- ${action}`;
  }
}

/** As their files say, which are replaced as a whole; a stream that is just being made has none. */
function checkpointsOfOthers(): CheckpointClaim[] {
  return readdirSync(audit)
    .filter((other) => other !== stream)
    .flatMap((other) => {
      const found = newestOf(other);
      if (found === null) return [];
      return [{ stream: other, origin: found.origin, size: found.size, root: found.root.toString('base64') }];
    });
}

function newestOf(other: string) {
  try {
    return parseNewest(readFileSync(join(audit, other, checkpointFile), 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
