import { hash } from 'node:crypto';
import { canonicalJson, type JsonValue } from '../base/canonical-json.ts';
import { Fault } from '../contract/faults.ts';
import type { Claim, ClaimFound } from '../store/store.ts';
import type { Caller, Creation } from './control.ts';

/**
 * The claim that an idempotency key makes, or null without one. `about` tells apart requests that look alike
 * but are made elsewhere, such as `run.resume run_…`.
 */
export function claimOf<T>(caller: Caller, about: string, creation: Creation<T>): Claim | null {
  const { idempotencyKey: key, request } = creation;
  if (key === null) return null;
  const plain = JSON.parse(JSON.stringify(request)) as JsonValue;
  const digest = hash('sha256', `${about}\n${canonicalJson(plain)}`, 'hex');
  return { actor: caller.actor.id, key, digest };
}

/** The resource that an earlier request with this key made, or null. Throws Fault `idempotency.conflict`. */
export function replayed(found: ClaimFound): string | null {
  if (found.outcome === 'free') return null;
  if (found.outcome === 'replayed') return found.resource;
  throw new Fault('idempotency.conflict', {
    detail: 'This idempotency key was used for a different request. Use another key.',
  });
}
