import type { Clock } from '../base/clock.ts';
import { absent, Fault } from '../contract/faults.ts';
import type { CreatedToken } from '../contract/schemas.ts';
import { localOwner } from '../identity/local-owner.ts';
import type { Tokens } from '../identity/tokens.ts';
import { type ActorId, narrowerReach, parseActorId } from '../model/actor.ts';
import { holds } from '../model/scopes.ts';
import type { Caller, Control } from './control.ts';
import { claimOf } from './creation.ts';
import type { Act, Gate } from './gate.ts';
import { refuseEgressBound } from './identity/rank.ts';
import { storePage, viewPage } from './paging.ts';
import { tokenView } from './views.ts';

export type TokenParts = { readonly tokens: Tokens; readonly gate: Gate; readonly clock: Clock };
type Wanted = Parameters<Control['tokens']['create']>[1]['request'];

export function tokenUseCases(parts: TokenParts): Omit<Control['tokens'], 'rotate'> {
  const { tokens, gate } = parts;
  return {
    create: (caller, creation) => create(parts, caller, creation),
    list: async (caller, query) => {
      const { id, reach } = caller.actor;
      await gate.privileged(caller, {
        action: 'token.list',
        resource: { kind: 'token' },
      });
      const actor = reach === 'all' ? undefined : id;
      const listed = await tokens.list({ actor }, storePage(query));
      return viewPage(listed, tokenView, (record) => record);
    },
    revoke: async (caller, id) => {
      const record = await tokens.get(id);
      if (record === null) throw absent('token');
      const resource = { kind: 'token', id, owner: record.actor } as const;
      const act = { action: 'token.revoke', resource } as const;
      await gate.contain(caller, act, async () => {
        if (!(await tokens.revoke(id))) throw absent('token');
      });
    },
  };
}

async function create(
  { tokens, gate, clock }: TokenParts,
  ...[caller, creation]: Parameters<Control['tokens']['create']>
): Promise<CreatedToken> {
  const { request } = creation;
  const { name, scopes, reach = 'own', expiresInSeconds } = request;
  const actor = actorOf(caller, request);
  const act: Act = {
    action: 'token.create',
    resource: { kind: 'token' },
    data: { name, actor, scopes: [...scopes], reach, expiresInSeconds: expiresInSeconds ?? null },
  };
  await gate.read(caller, act);
  await refuseMore({ gate }, caller, act, request, actor);
  const expiresAt = expiresInSeconds === undefined ? null : clock.now() + expiresInSeconds * 1000;
  const issued = await gate.act(caller, act, () =>
    tokens.issue(
      { name, actor, scopes: [...new Set(scopes)], reach, expiresAt },
      claimOf(caller, act.action, creation),
    ),
  );
  return createdView(issued);
}

/** A secret is shown once, so what was made before is not shown again. Throws Fault `idempotency.conflict`. */
export function createdView(issued: Awaited<ReturnType<Tokens['issue']>>): CreatedToken {
  if ('secret' in issued) return { ...tokenView(issued.record), token: issued.secret };
  throw new Fault('idempotency.conflict', {
    detail:
      issued.outcome === 'replayed'
        ? `This request made ${issued.resource} before, and its secret is shown once. Revoke it and use another key.`
        : 'This idempotency key was used for a different request. Use another key.',
  });
}

/**
 * Nobody hands out more than they have: not a scope, not the reach, not another's name; and no token, which is kept to
 * no egress, where they are.
 */
export async function refuseMore(
  { gate }: Pick<TokenParts, 'gate'>,
  caller: Caller,
  act: Act,
  { scopes, reach = 'own' }: Pick<Wanted, 'scopes' | 'reach'>,
  actor: ActorId,
): Promise<void> {
  const own = caller.actor;
  const lacking = scopes.find((scope) => !holds(own.scopes, scope));
  if (lacking !== undefined)
    throw await gate.refuse(caller, act, {
      rule: `scope:${lacking}:missing`,
      detail: `A token cannot hold the scope ${lacking}, which you do not hold yourself.`,
      required: lacking,
    });
  await refuseEgressBound(gate, caller, act);
  if (own.reach === 'all') return;
  if (narrowerReach(own.reach, reach) !== reach)
    throw await gate.refuse(caller, act, {
      rule: `reach:${reach}:missing`,
      detail: `A token cannot reach further than you do, and you reach ${own.reach}.`,
    });
  if (actor !== own.id)
    throw await gate.refuse(caller, act, {
      rule: 'actor:foreign',
      detail: 'A token for another actor needs a reach of all.',
    });
}

/** The machine's owner is nobody's name, so its tokens are for the administrator unless they say otherwise. */
function actorOf(caller: Caller, { actor }: Wanted): ActorId {
  const own = caller.actor.id;
  if (actor === undefined) return own === localOwner.id ? 'user:admin' : own;
  const parsed = parseActorId(actor);
  if (parsed === null)
    throw new Fault('request.invalid', {
      detail: 'actor is not user:<name>, agent:<name> or service:<name> in lower case.',
    });
  return parsed;
}
