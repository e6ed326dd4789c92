import { absent, Fault } from '../../contract/faults.ts';
import type { CreateOwnToken, RotateToken } from '../../contract/oauth-schemas.ts';
import type { CreatedToken, TokenView } from '../../contract/schemas.ts';
import type { ActionName } from '../../model/actions.ts';
import { narrowerReach } from '../../model/actor.ts';
import type { TokenId } from '../../model/ids.ts';
import { holds } from '../../model/scopes.ts';
import type { TokenRecord } from '../../store/store.ts';
import type { Caller, Creation, Page, PageRequest } from '../control.ts';
import { claimOf } from '../creation.ts';
import type { Act } from '../gate.ts';
import { storePage, viewPage } from '../paging.ts';
import { createdView, refuseMore, type TokenParts } from '../tokens.ts';
import { tokenView } from '../views.ts';

export type OwnTokens = {
  /** A token of the caller itself, who signed in as a person: never more than the caller, and never without an end. */
  create(caller: Caller, creation: Creation<CreateOwnToken>): Promise<CreatedToken>;
  list(caller: Caller, query: PageRequest): Promise<Page<TokenView>>;
  revoke(caller: Caller, id: TokenId): Promise<void>;
  /** As `rotateToken`, of a token of the caller's own. */
  rotate(caller: Caller, id: TokenId, request: RotateToken): Promise<CreatedToken>;
};

/** What everybody may do with their own API tokens, without any scope over those of others. */
export function ownTokenUseCases(parts: TokenParts): OwnTokens {
  const { tokens, gate } = parts;
  return {
    create: (caller, creation) => create(parts, caller, creation),
    list: async (caller, query) => {
      await gate.read(caller, accountAct(caller, 'account.token.list'));
      const listed = await tokens.list({ actor: caller.actor.id }, storePage(query));
      return viewPage(listed, tokenView, (record) => record);
    },
    revoke: async (caller, id) => {
      const act = accountAct(caller, 'account.token.revoke', { token: id });
      await gate.read(caller, act);
      await ownToken(parts, caller, id);
      await gate.contain(caller, act, async () => {
        if (!(await tokens.revoke(id))) throw absent('token');
      });
    },
    rotate: async (caller, id, request) => {
      const data = { token: id, overlapSeconds: request.overlapSeconds ?? 0 };
      const act = accountAct(caller, 'account.token.rotate', data);
      await gate.read(caller, act);
      return await rotated(parts, caller, act, await ownToken(parts, caller, id), request);
    },
  };
}

/**
 * Another secret in place of a token's: the same name, actor, scopes and reach, and a life as long as the first one
 * had. The old secret ends at once, or after the overlap. For whoever could make such a token.
 */
export async function rotateToken(
  parts: TokenParts,
  caller: Caller,
  id: TokenId,
  request: RotateToken,
): Promise<CreatedToken> {
  const record = await parts.tokens.get(id);
  if (record === null) throw absent('token');
  const act: Act = {
    action: 'token.rotate',
    resource: { kind: 'token', id, owner: record.actor },
    data: { overlapSeconds: request.overlapSeconds ?? 0 },
  };
  await parts.gate.read(caller, act);
  return await rotated(parts, caller, act, record, request);
}

async function create(
  parts: TokenParts,
  caller: Caller,
  creation: Creation<CreateOwnToken>,
): Promise<CreatedToken> {
  const { gate, tokens, clock } = parts;
  const { name, scopes, reach = 'own', expiresInSeconds } = creation.request;
  const { actor } = caller;
  const data = { name, scopes: [...scopes], reach, expiresInSeconds };
  const act = accountAct(caller, 'account.token.create', data);
  await gate.read(caller, act);
  const lacking = scopes.find((scope) => !holds(actor.scopes, scope));
  if (lacking !== undefined)
    throw await gate.refuse(caller, act, {
      rule: `scope:${lacking}:missing`,
      detail: `A token cannot hold the scope ${lacking}, which you do not hold yourself.`,
      required: lacking,
    });
  if (narrowerReach(actor.reach, reach) !== reach)
    throw await gate.refuse(caller, act, {
      rule: `reach:${reach}:missing`,
      detail: `A token cannot reach further than you do, and you reach ${actor.reach}.`,
    });
  const expiresAt = clock.now() + expiresInSeconds * 1000;
  const wanted = { name, actor: actor.id, scopes: [...new Set(scopes)], reach, expiresAt };
  const claim = claimOf(caller, act.action, creation);
  return createdView(await gate.act(caller, act, () => tokens.issue(wanted, claim)));
}

async function rotated(
  parts: TokenParts,
  caller: Caller,
  act: Act,
  record: TokenRecord,
  { overlapSeconds = 0 }: RotateToken,
): Promise<CreatedToken> {
  const { gate, tokens, clock } = parts;
  const { id, actor, expiresAt } = record;
  await refuseMore(parts, caller, act, { scopes: [...record.scopes], reach: record.reach }, actor);
  if (expiresAt !== null && expiresAt <= clock.now())
    throw new Fault('state.conflict', { detail: 'The token has expired. Make another one.' });
  const issued = await gate.act(caller, act, () => tokens.rotate(id, overlapSeconds * 1000));
  if (issued === null) throw absent('token');
  return createdView(issued);
}

async function ownToken({ tokens }: TokenParts, { actor }: Caller, id: TokenId): Promise<TokenRecord> {
  const record = await tokens.get(id);
  if (record === null || record.actor !== actor.id) throw absent('token');
  return record;
}

function accountAct({ actor }: Caller, action: ActionName, data: NonNullable<Act['data']> = {}): Act {
  return { action, resource: { kind: 'account', owner: actor.id }, data };
}
