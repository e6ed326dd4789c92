import assert from 'node:assert/strict';

/**
 * A run's output as records: `kind` (1 byte), length (4 bytes, big endian), payload. Their order is the order
 * in which the runner read them, which is all that can be known of two pipes. An offset counts record bytes
 * from the first one ever written, dropped ones included, so it never changes its meaning.
 */
export const recordKinds = { stdout: 1, stderr: 2, dropped: 3 } as const;
export type RecordKind = keyof typeof recordKinds;

export const recordHeaderBytes = 5;
export const recordPayloadBytesMax = 64 * 1024;

/** `offset` is where the next record starts: what a reader gives to go on after this one. */
export type LogRecord = { readonly kind: RecordKind; readonly payload: Buffer; readonly nextOffset: number };

const kindNames: Record<number, RecordKind> = { 1: 'stdout', 2: 'stderr', 3: 'dropped' };

/** The first `recordHeaderBytes` of a record whose payload follows. */
export function recordHeader(kind: RecordKind, payloadBytes: number): Buffer {
  assert(payloadBytes <= recordPayloadBytesMax);
  const header = Buffer.allocUnsafe(recordHeaderBytes);
  header.writeUInt8(recordKinds[kind], 0);
  header.writeUInt32BE(payloadBytes, 1);
  return header;
}

/** The record that stands for `bytes` of record bytes that were dropped to stay within the limit. */
export function droppedRecord(bytes: number): Buffer {
  const payload = Buffer.from(JSON.stringify({ droppedBytes: bytes }));
  return Buffer.concat([recordHeader('dropped', payload.length), payload]);
}

/** Cuts a byte stream into records; keeps what is incomplete for the next call. Throws on bytes that are no records. */
export class RecordParser {
  #rest: Buffer = Buffer.alloc(0);
  #offset: number;

  constructor(offset: number) {
    this.#offset = offset;
  }

  push(chunk: Buffer): LogRecord[] {
    let data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const records: LogRecord[] = [];
    while (data.length >= recordHeaderBytes) {
      const kind = kindNames[data[0]!];
      const length = data.readUInt32BE(1);
      if (kind === undefined || length > recordPayloadBytesMax) throw new RangeError('not a log record');
      const end = recordHeaderBytes + length;
      if (data.length < end) break;
      const payload = data.subarray(recordHeaderBytes, end);
      this.#offset += kind === 'dropped' ? droppedBytesOf(payload) : end;
      records.push({ kind, payload, nextOffset: this.#offset });
      data = data.subarray(end);
    }
    this.#rest = Buffer.from(data);
    return records;
  }
}

/** How many record bytes a `dropped` record stands for. */
export function droppedBytesOf(payload: Buffer): number {
  const { droppedBytes } = JSON.parse(payload.toString('utf8')) as { droppedBytes: number };
  assert(Number.isSafeInteger(droppedBytes) && droppedBytes >= 0);
  return droppedBytes;
}
