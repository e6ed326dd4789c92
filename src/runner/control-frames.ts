import { z } from 'zod';
import { streamPattern } from '../audit/event.ts';
import { eventCharacters } from '../audit/limits.ts';
import { connectionId, terminalSizeSchema } from '../contract/attach-frames.ts';
import { terminalId } from '../contract/attach-schemas.ts';
import { Fault } from '../contract/faults.ts';
import { egressPolicy } from '../contract/gateway.ts';
import { gitRef, repositoryUrl, sshHostKeys } from '../contract/repository.ts';
import type { AuditReceipt, AuditWish, OrderFrame, Purpose, RunnerOrder } from '../contract/runner.ts';
import type { ExecEndInput, TerminalAsk } from '../contract/runner-terminals.ts';
import {
  command,
  cwd,
  environment,
  limits,
  repoUpload,
  runId,
  sessionId,
  timeoutSeconds,
  uploadId,
} from '../contract/schemas.ts';
import type { ActorId } from '../model/actor.ts';
import { runnerLimits } from './limits.ts';

/**
 * What control sends, parsed: whoever takes control over is nobody on this host and must stay that, so an id is
 * an id before it becomes part of a path.
 */

/** A JWT in its compact form (RFC 7515 §7.1). Says nothing about its signature: others verify it. */
const identityToken = z
  .string()
  .max(runnerLimits.identityCharactersMax)
  .regex(/^[\w-]+\.[\w-]+\.[\w-]+$/);

const actorId = z
  .string()
  .max(eventCharacters.actorId)
  .regex(/^(user|agent|service|system):\S+$/) as z.ZodType<ActorId>;

const runTerminal = z.strictObject({ id: terminalId, size: terminalSizeSchema });

const execSpec = z.strictObject({
  run: runId,
  by: actorId,
  connection: connectionId,
  command,
  env: environment,
  cwd: cwd.nullable(),
});

const runSpec = z.strictObject({
  run: runId,
  session: sessionId,
  owner: actorId,
  repo: z
    .union([
      repoUpload.required(),
      z.strictObject({ url: repositoryUrl, ref: gitRef.nullable(), hostKeys: sshHostKeys }),
    ])
    .nullable(),
  command,
  env: environment,
  cwd: cwd.nullable(),
  limits: limits.required().extend({ timeoutSeconds }),
  strict: z.boolean(),
  diff: z.boolean(),
  terminal: runTerminal.nullable(),
  egress: egressPolicy,
  identity: identityToken,
});

const checkpoint = z.strictObject({
  stream: z.string().regex(streamPattern),
  origin: z.string().min(1).max(256),
  size: z.int().min(0),
  root: z.string().regex(/^[A-Za-z0-9+/]{43}=$/),
});

const order: z.ZodType<RunnerOrder> = z.discriminatedUnion('order', [
  z.strictObject({ order: z.literal('start'), spec: runSpec }),
  z.strictObject({ order: z.literal('stop'), run: runId, as: z.literal('cancelled') }),
  z.strictObject({ order: z.literal('acknowledge'), run: runId }),
  z.strictObject({ order: z.literal('checkpoint'), checkpoint }),
  z.strictObject({ order: z.literal('egress'), run: runId, egress: egressPolicy }),
  z.strictObject({ order: z.literal('identity'), run: runId, token: identityToken }),
  z.strictObject({ order: z.literal('forget'), runs: z.array(runId) }),
  z.strictObject({ order: z.literal('remove-session'), session: sessionId }),
  z.strictObject({ order: z.literal('remove-upload'), upload: uploadId }),
  z.strictObject({ order: z.literal('status') }),
  z.strictObject({ order: z.literal('open-terminal'), terminal: runTerminal, exec: execSpec }),
  z.strictObject({ order: z.literal('close-terminal'), run: runId, terminal: terminalId }),
  z.strictObject({ order: z.literal('terminals'), run: runId }),
]);

const numbered: z.ZodType<Pick<OrderFrame, 'id'>> = z.looseObject({ id: z.int().min(0) });

const purpose: z.ZodType<Purpose> = z.discriminatedUnion('purpose', [
  z.strictObject({ purpose: z.literal('orders') }),
  z.strictObject({
    purpose: z.literal('logs'),
    run: runId,
    offset: z.int().min(0),
    follow: z.boolean(),
  }),
  z.strictObject({
    purpose: z.literal('artifact'),
    run: runId,
    name: z.string().regex(/^[a-z][a-z-]{0,62}$/),
  }),
  z.strictObject({ purpose: z.literal('audit') }),
  z.strictObject({ purpose: z.literal('upload'), upload: uploadId, bytesMax: z.int().min(0) }),
  z.strictObject({
    purpose: z.literal('terminal'),
    run: runId,
    terminal: terminalId,
    from: z.int().min(0).nullable(),
  }),
  z.strictObject({ purpose: z.literal('exec'), exec: execSpec }),
  z.strictObject({ purpose: z.literal('port'), run: runId, port: z.int().min(1).max(65_535) }),
  z.strictObject({ purpose: z.literal('recording'), run: runId, terminal: terminalId }),
]);

/** The first frame of a connection. Throws Fault `request.invalid`, as the others here. */
export function parsePurpose(value: unknown): Purpose {
  return parsed(purpose, value);
}

/** The number that an order is answered under. */
export function orderNumber(value: unknown): number {
  return parsed(numbered, value).id;
}

/** An order without its number. */
export function parseOrder(value: unknown): RunnerOrder {
  const { id: _, ...rest } = value as OrderFrame;
  return parsed(order, rest);
}

const wish: z.ZodType<AuditWish> = z.strictObject({ after: z.int().min(0) });
const receipt: z.ZodType<AuditReceipt> = z.strictObject({ acknowledged: z.int().min(0) });

/** From where on control wants the runner's stream. */
export function parseWish(value: unknown): AuditWish {
  return parsed(wish, value);
}

export function parseReceipt(value: unknown): AuditReceipt {
  return parsed(receipt, value);
}

const ask: z.ZodType<TerminalAsk> = z.discriminatedUnion('ask', [
  z.strictObject({ ask: z.literal('size'), size: terminalSizeSchema }),
  z.strictObject({ ask: z.literal('author'), by: actorId, recordInput: z.boolean() }),
]);
const endInput: z.ZodType<ExecEndInput> = z.strictObject({ endInput: z.literal(true) });

/** What control wants of a terminal that it is connected to. */
export function parseTerminalAsk(value: unknown): TerminalAsk {
  return parsed(ask, value);
}

/** The only thing that is said, beside bytes, to a command with pipes and to a port. */
export function parseEndInput(value: unknown): ExecEndInput {
  return parsed(endInput, value);
}

function parsed<T>(schema: z.ZodType<T>, value: unknown): T {
  const { success, data, error } = schema.safeParse(value);
  if (success) return data;
  const where = error.issues[0]?.path.join('.') || 'as a whole';
  throw new Fault('request.invalid', { detail: `The runner does not take this order (${where}).` });
}
