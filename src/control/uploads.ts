import { type Channel, ChannelError } from '../base/channel.ts';
import type { Clock } from '../base/clock.ts';
import { absent, Fault } from '../contract/faults.ts';
import type { UploadStored } from '../contract/runner.ts';
import type { UploadView } from '../contract/schemas.ts';
import { newId, type UploadId } from '../model/ids.ts';
import type { Store } from '../store/store.ts';
import type { Caller, Control } from './control.ts';
import type { Gate } from './gate.ts';
import { controlLimits } from './limits.ts';
import { faultOfFrame, uploadStored } from './runner-frames.ts';
import { LinkLost, type RunnerLink } from './runner-link.ts';
import { uploadView } from './views.ts';

export type UploadParts = {
  readonly store: Store;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly link: RunnerLink;
  readonly uploadBytesMax: number;
  /** Uploads whose bytes are still coming: the sweeper leaves them alone, however long that takes. */
  readonly arriving: Set<UploadId>;
};

export function uploadUseCases(parts: UploadParts): Control['uploads'] {
  return {
    store: (caller, bytes) => store(parts, caller, bytes),
    mayStill: (caller) =>
      parts.gate.read(caller, {
        action: 'upload.create',
        resource: { kind: 'upload', owner: caller.actor.id },
      }),
    remove: (caller, id) => remove(parts, caller, id),
  };
}

async function store(parts: UploadParts, caller: Caller, bytes: AsyncIterable<Buffer>): Promise<UploadView> {
  const { gate, clock, store } = parts;
  const createdAt = clock.now();
  const id = newId('upload', createdAt);
  const owner = caller.actor.id;
  const resource = { kind: 'upload', id, owner } as const;
  return await gate.act(caller, { action: 'upload.create', resource }, async () => {
    parts.arriving.add(id);
    try {
      await store.uploads.begin({ id, owner, createdAt });
      const stored = await send(parts, id, bytes);
      const record = await store.uploads.finish(id, clock.now(), stored);
      if (record === null) throw absent('upload');
      return uploadView({ ...record, stored });
    } catch (error) {
      await discard(parts, id);
      throw error;
    } finally {
      parts.arriving.delete(id);
    }
  });
}

/** What cannot be removed now is found by the sweeper. */
async function discard({ link, store }: UploadParts, id: UploadId): Promise<void> {
  try {
    await link.order({ order: 'remove-upload', upload: id });
    await store.uploads.remove(id);
  } catch {
    // The row stays, and with it the sweeper's knowledge of the bytes.
  }
}

/** The runner may answer before the end, such as that its disk is full; nothing more is sent then. */
async function send(parts: UploadParts, id: UploadId, bytes: AsyncIterable<Buffer>): Promise<UploadStored> {
  const { link, uploadBytesMax } = parts;
  const channel = await link.stream({ purpose: 'upload', upload: id, bytesMax: uploadBytesMax });
  const answer = answerOf(channel);
  let complete = false;
  const early = () => {
    if (!complete) channel.close();
  };
  answer.then(early, early);
  try {
    let total = 0;
    for await (const chunk of bytes) {
      total += chunk.length;
      if (total > uploadBytesMax) throw tooLarge(uploadBytesMax);
      await sendChunk(channel, chunk);
    }
    complete = true;
    await channel.sendJson({ end: true });
    return await answer;
  } catch (error) {
    throw error instanceof ChannelError ? await reasonOf(answer, error) : error;
  } finally {
    channel.close();
  }
}

async function sendChunk(channel: Channel, chunk: Buffer): Promise<void> {
  for (let at = 0; at < chunk.length; at += controlLimits.uploadChunkBytes)
    await channel.sendData(chunk.subarray(at, at + controlLimits.uploadChunkBytes));
}

async function answerOf(channel: Channel): Promise<UploadStored> {
  const frame = await channel.read().catch((error: unknown) => {
    throw new LinkLost(String(error));
  });
  if (frame === null || frame.kind !== 'json') throw new LinkLost('no answer to an upload');
  const fault = faultOfFrame(frame.value);
  if (fault !== null) throw fault;
  return uploadStored.parse(frame.value);
}

async function reasonOf(answer: Promise<UploadStored>, error: ChannelError): Promise<Fault> {
  const lost = new LinkLost(error.message);
  return await answer.then(
    () => lost,
    (reason: unknown) => (reason instanceof Fault ? reason : lost),
  );
}

function tooLarge(bytesMax: number): Fault {
  return new Fault('request.too-large', { detail: `An upload holds at most ${bytesMax} bytes.` });
}

async function remove({ store, gate, link }: UploadParts, caller: Caller, id: UploadId): Promise<void> {
  const record = await store.uploads.get(id);
  if (record === null) throw absent('upload');
  const resource = { kind: 'upload', id, owner: record.owner } as const;
  await gate.act(caller, { action: 'upload.remove', resource }, async () => {
    const session = record.session === null ? null : await store.sessions.get(record.session);
    if (session !== null && session.phase !== 'closed')
      throw new Fault('state.conflict', { detail: 'A session was made from the upload. Close the session.' });
    await link.order({ order: 'remove-upload', upload: id });
    await store.uploads.remove(id);
  });
}
