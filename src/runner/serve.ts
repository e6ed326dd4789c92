import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Channel, ChannelError } from '../base/channel.ts';
import { Fault } from '../contract/faults.ts';
import type { AnswerFrame, Purpose, RunnerEvent, UploadStored } from '../contract/runner.ts';
import { orderNumber, parseOrder, parsePurpose } from './control-frames.ts';
import { runnerLimits } from './limits.ts';
import { describeFailure, type Runner } from './runner.ts';
import { serveRecord } from './serve-record.ts';
import { readSpool } from './spool.ts';
import { serveExec } from './terminals/serve-exec.ts';
import { servePort } from './terminals/serve-port.ts';
import { serveRecording } from './terminals/serve-recording.ts';
import { serveTerminal } from './terminals/serve-terminal.ts';

/** Serves one authenticated connection of control until it ends. */
export async function serveControl(runner: Runner, channel: Channel): Promise<void> {
  const first = await channel.read();
  if (first?.kind !== 'json') return;
  const value = parsePurpose(first.value);
  switch (value.purpose) {
    case 'orders':
      return await serveOrders(runner, channel);
    case 'logs':
      return await serveLogs(runner, channel, value);
    case 'artifact':
      return await serveArtifact(runner, channel, value);
    case 'audit':
      return await serveRecord(runner.record, channel);
    case 'upload':
      return await serveUpload(runner, channel, value);
    case 'terminal':
      return await orFault(channel, () => serveTerminal(runner.terminals, channel, value));
    case 'exec':
      return await orFault(channel, () =>
        serveExec(runner.terminals.execs, channel, runner.placeOf(value.exec), value.exec),
      );
    case 'port':
      return await orFault(channel, async () =>
        servePort(channel, await runner.execPlace(value.run).sandbox.connect(value.port)),
      );
    case 'recording':
      return await orFault(channel, () => serveRecording(runner.terminals.recordings, channel, value));
  }
}

/** Says the fault that it ends with, where there is still somebody to hear it. */
async function orFault(channel: Channel, serve: () => Promise<void>): Promise<void> {
  try {
    await serve();
  } catch (error) {
    if (error instanceof ChannelError) throw error;
    await channel.sendJson({ fault: describeFailure(error) });
    channel.end();
    await channel.closed;
  }
}

async function serveOrders(runner: Runner, channel: Channel): Promise<void> {
  const unsubscribe = runner.subscribe((event: RunnerEvent) => {
    channel.sendJson(event).catch(() => undefined);
  });
  const hangUp = () => channel.close();
  runner.closing.addEventListener('abort', hangUp);
  try {
    for (let frame = await channel.read(); frame !== null; frame = await channel.read()) {
      if (frame.kind !== 'json' || runner.closing.aborted) return;
      answer(runner, orderNumber(frame.value), frame.value)
        .then((reply) => channel.sendJson(reply))
        .catch(() => channel.close());
    }
  } finally {
    runner.closing.removeEventListener('abort', hangUp);
    unsubscribe();
  }
}

async function answer(runner: Runner, id: number, order: unknown): Promise<AnswerFrame> {
  try {
    return { id, ok: await runner.obey(parseOrder(order)) };
  } catch (error) {
    return { id, fault: describeFailure(error) };
  }
}

async function serveLogs(
  runner: Runner,
  channel: Channel,
  { run, offset, follow }: Purpose & { purpose: 'logs' },
): Promise<void> {
  const gone = new AbortController();
  void channel.closed.then(() => gone.abort());
  watchForEnd(channel, gone);
  const live = follow ? runner.liveSpool(run) : null;
  for await (const bytes of readSpool(runner.folders.log(run), offset, live, gone.signal)) {
    await channel.sendData(bytes);
  }
  channel.end();
  await channel.closed;
}

/** A stream's reader sends nothing more, so the next frame is its leaving. */
function watchForEnd(channel: Channel, gone: AbortController): void {
  channel.read().then(
    () => gone.abort(),
    () => gone.abort(),
  );
}

async function serveArtifact(
  runner: Runner,
  channel: Channel,
  { run, name }: Purpose & { purpose: 'artifact' },
): Promise<void> {
  const path = runner.folders.artifact(run, name);
  if (!existsSync(path)) {
    await channel.sendJson({ fault: { code: 'resource.absent', detail: 'There is no such artifact.' } });
  } else {
    for await (const bytes of createReadStream(path, {
      highWaterMark: 256 * 1024,
    }) as AsyncIterable<Buffer>) {
      await channel.sendData(bytes);
    }
  }
  channel.end();
  await channel.closed;
}

/** Keeps an upload once all of it is there; a connection that breaks off leaves nothing. */
async function serveUpload(
  runner: Runner,
  channel: Channel,
  { upload, bytesMax }: Purpose & { purpose: 'upload' },
): Promise<void> {
  const path = runner.folders.upload(upload);
  const part = `${path}.part`;
  const hash = createHash('sha256');
  let count = 0;
  async function* received(): AsyncGenerator<Buffer> {
    for (let frame = await channel.read(); ; frame = await channel.read()) {
      if (frame === null) throw new Fault('request.malformed', { detail: 'The upload broke off.' });
      if (frame.kind === 'json') return;
      count += frame.bytes.length;
      if (count > bytesMax)
        throw new Fault('request.too-large', { detail: `An upload may have ${bytesMax} bytes.` });
      hash.update(frame.bytes);
      yield frame.bytes;
    }
  }
  try {
    await pipeline(
      Readable.from(received(), { objectMode: false, highWaterMark: 1 << 20 }),
      createWriteStream(part, { mode: 0o600 }),
    );
    await rename(part, path);
    await channel.sendJson({ bytes: count, sha256: hash.digest('hex') } satisfies UploadStored);
  } catch (error) {
    await rm(part, { force: true });
    await channel.sendJson({ fault: describeFailure(error) });
    await drain(channel);
  }
  channel.end();
  await channel.closed;
}

/** Reads on for a while, so that a sender in full flow gets to see why its upload is refused. */
async function drain(channel: Channel): Promise<void> {
  let left: number = runnerLimits.drainBytesMax;
  for (let frame = await channel.read(); frame !== null && left > 0; frame = await channel.read()) {
    left -= frame.kind === 'data' ? frame.bytes.length : left;
  }
}
