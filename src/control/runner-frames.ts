import { z } from 'zod';
import { noteBytesMax } from '../audit/signed-note.ts';
import { Fault, type FaultCode, faultTable } from '../contract/faults.ts';
import {
  type AnswerFrame,
  type AuditNote,
  type AuditOffer,
  endingSchema,
  type RunnerEvent,
  type RunnerStatus,
  type UploadStored,
} from '../contract/runner.ts';
import { run } from '../contract/schemas.ts';
import { parseId, type RunId } from '../model/ids.ts';

/** What the runner sends, parsed: control trusts it with sandboxes, not with its own memory. */

const runId = z.string().refine((text): text is RunId => parseId('run', text) !== null);
const time = z.number().min(0);
const heldBy = run.shape.heldBy.unwrap();

const usage = z.object({
  cpuSeconds: z.number(),
  peakMemoryBytes: z.number(),
  peakPids: z.number(),
  diskBytes: z.number(),
  outputBytes: z.number(),
});

const artifactInfo = z.object({
  name: z.string().min(1).max(255),
  mediaType: z.string().max(255),
  bytes: z.int().min(0),
  sha256: z.string().max(64),
});

const streamPlace = z.object({
  stream: z.string().regex(/^runner-[a-z2-7]{6}$/),
  seq: z.int().min(0),
});

const event: z.ZodType<RunnerEvent> = z.discriminatedUnion('event', [
  z.object({
    event: z.literal('step'),
    run: runId,
    step: z.enum(['workspace', 'sandbox', 'command', 'collect']),
    at: time,
  }),
  z.object({ event: z.literal('running'), run: runId, at: time, heldBy }),
  z.object({
    event: z.literal('finished'),
    run: runId,
    at: time,
    runningAt: time.nullable(),
    ending: endingSchema,
    heldBy: heldBy.nullable(),
    usage: usage.nullable(),
    artifacts: z.array(artifactInfo).max(64),
    recorded: streamPlace,
  }),
]);

const faultPart = z.object({ code: z.string(), detail: z.string() });
const answer: z.ZodType<AnswerFrame> = z.union([
  z.object({ id: z.int(), fault: faultPart }),
  z.object({ id: z.int(), ok: z.unknown() }),
]);
const frame = z.union([event, answer]);

export const runnerStatus: z.ZodType<RunnerStatus> = z.object({
  live: z.array(
    z.object({
      run: runId,
      phase: z.enum(['starting', 'running']),
      heldBy: heldBy.nullable(),
      runningAt: time.nullable(),
    }),
  ),
  backend: z.string(),
  mode: z.enum(['root', 'user']),
  heldBy,
  sandboxes: z.number(),
  residentBytes: z.number(),
  record: streamPlace.extend({ waiting: z.int().min(0), ok: z.boolean() }),
});

export const uploadStored: z.ZodType<UploadStored> = z.object({
  bytes: z.int().min(0),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});

/** What the runner says of its own stream. Throws ZodError. */
export function parseOffer(value: unknown): AuditOffer {
  return streamPlace.parse(value);
}

const note = z.object({ checkpoint: z.string().max(noteBytesMax) });

/** A signed checkpoint of the runner's stream; its signature is unverified. Throws ZodError. */
export function parseNote(value: unknown): AuditNote {
  return note.parse(value);
}

/** A frame of an orders connection. Throws ZodError on anything else. */
export function parseFrame(value: unknown): RunnerEvent | AnswerFrame {
  return frame.parse(value);
}

const streamFault = z.object({ fault: faultPart });

/** The fault that a JSON frame on a stream connection reports, or null. */
export function faultOfFrame(value: unknown): Fault | null {
  const parsed = streamFault.safeParse(value);
  return parsed.success ? runnerFault(parsed.data.fault) : null;
}

/** A fault that the runner answered; a code that is none of ours is an internal one. */
export function runnerFault({ code, detail }: { code: string; detail: string }): Fault {
  const known = Object.hasOwn(faultTable, code) ? (code as FaultCode) : 'internal';
  return new Fault(
    known,
    known === 'internal' ? { detail: 'The runner failed.', message: detail } : { detail },
  );
}
