import { z } from 'zod';
import type { Authority } from '../base/certificates.ts';
import {
  type EgressFlow,
  type EgressFlowEnd,
  type EgressPolicy,
  egressDenials,
  egressModes,
  egressProtocols,
} from '../model/egress.ts';
import type { ProxyKind } from '../model/gateway-address.ts';
import type { RunId } from '../model/ids.ts';
import { runId } from './schemas.ts';

/**
 * What runner and gateway say to each other, as JSON frames over a pair of sockets that only they hold. The
 * gateway reads what sandboxes send, so the runner parses what it says; the gateway takes the runner's word.
 */

/** Listeners whose descriptors are in the next message of the socket beside, in this order. */
export type PassedListeners = readonly {
  readonly transport: 'tcp' | 'udp';
  readonly port: number;
  /** What is spoken there, at the gateway's own address; null where the destination is what was connected to. */
  readonly proxy: ProxyKind | null;
}[];

export type GatewayOrder =
  /** A sandbox is being prepared. Its number is never used again. */
  | {
      readonly order: 'open';
      readonly id: number;
      readonly door: number;
      /** How many gateways it has had before: no address of theirs comes to mean another name. */
      readonly era: number;
      /** Whom this sandbox trusts and no other; its key is nowhere but here and in the runner. */
      readonly authority: Authority;
      readonly listeners: PassedListeners;
    }
  /**
   * Answered when the policy is in force. Numbers of flows go on from `nextFlow`; `bytesOut` is what the run's flows
   * that have ended sent upstream.
   */
  | {
      readonly order: 'admit';
      readonly id: number;
      readonly door: number;
      readonly run: RunId;
      readonly policy: EgressPolicy;
      readonly listeners: PassedListeners;
      readonly nextFlow: number;
      readonly bytesOut: number;
    }
  /** Answered when its listeners are closed and the ends of its flows are told. */
  | { readonly order: 'close'; readonly id: number; readonly door: number }
  | { readonly order: 'recorded'; readonly batch: number }
  /** It cannot be recorded: nothing that it allows may begin. */
  | { readonly order: 'refused'; readonly batch: number };

export type GatewayWord =
  | { readonly word: 'ready' }
  /** An order with a number is carried out. */
  | { readonly word: 'done'; readonly id: number }
  /** Allowed flows wait until their batch is `recorded` or `refused`. */
  | {
      readonly word: 'flows';
      readonly batch: number;
      readonly flows: readonly EgressFlow[];
      readonly ends: readonly EgressFlowEnd[];
    };

const text = (max: number) => z.string().max(max).nullable();
const count = z.int().min(0);
/** Milliseconds of the epoch, up to the last one that a date can tell. */
const time = count.max(8.64e15);

export const egressFlow: z.ZodType<EgressFlow> = z.strictObject({
  id: count,
  run: runId,
  at: time,
  host: text(253),
  address: text(45),
  port: z.int().min(0).max(65_535),
  protocol: z.enum([...egressProtocols, 'dns']).nullable(),
  method: text(32),
  path: text(1_024),
  verdict: z.enum(['allowed', 'denied']),
  rule: text(128),
  denial: z.enum(egressDenials).nullable(),
  generation: count,
  count: z.int().min(1),
});

export const egressFlowEnd: z.ZodType<EgressFlowEnd> = z.strictObject({
  id: count,
  run: runId,
  at: time,
  bytesOut: count,
  bytesIn: count,
  outcome: z.enum(['closed', 'reset', 'cut', 'timed-out', 'unreachable']),
});

export const egressBatchMax = 256;

export const egressBatch = z.strictObject({
  batch: count,
  flows: z.array(egressFlow).max(egressBatchMax),
  ends: z.array(egressFlowEnd).max(egressBatchMax),
});

const word = z.discriminatedUnion('word', [
  z.strictObject({ word: z.literal('ready') }),
  z.strictObject({ word: z.literal('done'), id: count }),
  egressBatch.extend({ word: z.literal('flows') }),
]);

/** What the gateway said. Throws ZodError. */
export function parseGatewayWord(value: unknown): GatewayWord {
  return word.parse(value);
}

const limit = z.int().min(1).nullable();

/** A compiled policy, as control sends it to the runner. */
export const egressPolicy: z.ZodType<EgressPolicy> = z.strictObject({
  mode: z.enum(egressModes),
  generation: z.int().min(1),
  rules: z
    .array(
      z.strictObject({
        name: z.string().min(1).max(128),
        target: z.union([
          z.strictObject({ host: z.string().min(1).max(255) }),
          z.strictObject({ cidr: z.string().min(1).max(64) }),
        ]),
        ports: z.array(z.int().min(1).max(65_535)).min(1).max(64),
        protocol: z.enum(egressProtocols),
        methods: z.array(z.string().max(32)).max(32).exactOptional(),
        paths: z.array(z.string().max(1_024)).max(100).exactOptional(),
      }),
    )
    .max(2_000),
  limits: z.strictObject({
    bytesOut: limit,
    connections: limit,
    requestsPerMinute: limit,
  }),
});
