import {
  accessTokenType,
  grantTypes,
  jwtTokenType,
  OAuthFault,
  type TokenAnswer,
} from '../../contract/oauth.ts';
import type { ActClaim } from '../../identity/access-tokens.ts';
import { identityLimits } from '../../identity/limits.ts';
import { common } from '../../identity/principals.ts';
import type { VerifiedRun } from '../../identity/run-identity.ts';
import { type Actor, type ActorId, narrowerEgress, narrowerReach, type Reach } from '../../model/actor.ts';
import { parseId } from '../../model/ids.ts';
import { agentScopes, type GrantableScope, type Scope } from '../../model/scopes.ts';
import type { Caller } from '../control.ts';
import { openAndIssue } from './issuing.ts';
import { oauthLimits } from './limits.ts';
import type { Asked, OAuthClient } from './oauth-clients.ts';
import { askedScopes, type Form, optional, required } from './oauth-form.ts';
import type { OAuthParts } from './oauth-parts.ts';

/** A token that was presented, and verified. */
type Presented = {
  readonly actor: Actor;
  /** Who acts in it and acted before, the last first; null where its actor acts for itself. */
  readonly act: ActClaim | null;
  /** What the new token ends with: the sign-in, API token or run that this one stands for. */
  readonly credential: string;
  readonly expiresAt: number | null;
};

/**
 * Grant `token-exchange` (RFC 8693): a token that is worth less. Its scopes are among the subject's and the actor's,
 * it reaches no further, lives no longer, and ends with what it was exchanged from. With an actor, told by its
 * token or by the client that proved itself, the actor acts on the subject's behalf and the token says so; without
 * one the subject narrows itself. What asks for more is refused, never cut down in silence.
 */
export async function exchange(
  parts: OAuthParts,
  client: OAuthClient | null,
  { form, request }: Asked,
): Promise<TokenAnswer> {
  refuseOtherTargets(parts, form);
  const subject = await presented(parts, form, 'subject_token', request);
  const acting = await actingParty(parts, client, form, request);
  const delegate = acting?.actor.id === subject.actor.id ? null : acting;
  const { accessTokenLifeMs } = identityLimits;
  const now = parts.clock.now();
  const scopes = narrowedScopes(subject.actor, delegate?.actor ?? null, askedScopes(form));
  const ends = [subject.expiresAt, acting?.expiresAt ?? null, now + accessTokenLifeMs];
  const act = delegate === null ? subject.act : { sub: delegate.actor.id, ...chainOf(subject) };
  const onBehalfOf = subject.actor.onBehalfOf ?? subject.actor.id;
  const { address, userAgent } = request;
  const { answer } = await openAndIssue(
    parts,
    {
      ...{ scopes, address, userAgent },
      actor: delegate?.actor.id ?? subject.actor.id,
      onBehalfOf: delegate === null ? (subject.actor.onBehalfOf ?? null) : onBehalfOf,
      proof: { at: now, methods: [], mfa: false, provider: null, providerSession: null },
      client: client?.id ?? subject.actor.id,
      reach: narrowedReach(subject.actor, delegate?.actor ?? null),
      egress: narrowedEgress(subject.actor, delegate?.actor ?? null, form),
      parent: subject.credential,
      refreshable: false,
      expiresAt: Math.min(...ends.map((end) => end ?? Number.POSITIVE_INFINITY)),
    },
    {
      action: 'token.exchange',
      grant: grantTypes.tokenExchange,
      request,
      data: { subject: subject.actor.id, parent: subject.credential },
      act,
    },
  );
  return { ...answer, issued_token_type: accessTokenType };
}

/** Tokens of this server are for this server. */
function refuseOtherTargets({ accessTokens }: OAuthParts, form: Form): void {
  for (const name of ['audience', 'resource']) {
    const target = optional(form, name);
    if (target !== null && target !== accessTokens.issuer)
      throw new OAuthFault('invalid_target', `Tokens are made for ${accessTokens.issuer} alone.`);
  }
  const wanted = optional(form, 'requested_token_type') ?? accessTokenType;
  if (wanted !== accessTokenType && wanted !== jwtTokenType)
    throw new OAuthFault('invalid_request', `requested_token_type is ${accessTokenType}.`);
}

async function actingParty(
  parts: OAuthParts,
  client: OAuthClient | null,
  form: Form,
  request: Caller['request'],
): Promise<{
  readonly actor: Pick<Actor, 'id' | 'scopes' | 'reach' | 'egress'>;
  readonly expiresAt: number | null;
} | null> {
  if (form.has('actor_token')) return await presented(parts, form, 'actor_token', request);
  if (client?.kind !== 'proved') return null;
  const principal = await parts.principals.of(client.id);
  if (typeof principal === 'string')
    throw new OAuthFault('invalid_grant', 'The client may not act any more.');
  return { actor: principal, expiresAt: null };
}

/** Verifies one of the two tokens. Throws OAuthFault `invalid_grant`, which is on record. */
async function presented(
  parts: OAuthParts,
  form: Form,
  name: 'subject_token' | 'actor_token',
  request: Caller['request'],
): Promise<Presented> {
  const type = required(form, `${name}_type`);
  if (type !== accessTokenType && type !== jwtTokenType)
    throw new OAuthFault('invalid_request', `${name}_type is ${accessTokenType} or ${jwtTokenType}.`);
  const found = await verified(parts, required(form, name));
  if (found !== null) return found;
  parts.gate.note({
    action: 'token.exchange',
    actor: { id: 'system:nobody' },
    resource: { kind: 'token' },
    outcome: 'denied',
    rule: `${name}:refused`,
    request,
    countAs: `token.exchange ${request.address ?? 'local'}`,
  });
  throw new OAuthFault(
    'invalid_grant',
    `The ${name} is not valid here: unknown, expired, revoked or malformed.`,
  );
}

async function verified(parts: OAuthParts, token: string): Promise<Presented | null> {
  const { accessTokens, identity, runIdentity, tokens } = parts;
  const signed = await accessTokens.inspect(token);
  if (signed !== null) {
    const { actor, claims } = signed;
    return { actor, act: claims.act, credential: claims.signIn, expiresAt: claims.expiresAt * 1000 };
  }
  const run = await runIdentity.verify(token);
  if (run !== null) return await runPresented(parts, run);
  const actor = await identity.ofBearer(token);
  // The bootstrap token is nobody's and ends with nothing, so nothing comes of it.
  if (actor === null || actor.credential === undefined) return null;
  const id = parseId('token', actor.credential);
  const expiresAt = id === null ? null : ((await tokens.get(id))?.expiresAt ?? null);
  return { actor, act: null, credential: actor.credential, expiresAt };
}

/**
 * A run is its owner with what agents do among themselves and nothing else: a program that nobody trusts cannot read
 * its owner's sessions with its token, nor begin runs that reach what it may not.
 */
async function runPresented(
  { principals }: OAuthParts,
  { run, owner, expiresAt }: VerifiedRun,
): Promise<Presented | null> {
  const principal = await principals.of(owner);
  if (typeof principal === 'string') return null;
  const scopes = common(principal.scopes, agentScopes);
  const actor: Actor = { id: owner, scopes, reach: 'own', narrowed: true, credential: run };
  return { actor, act: null, credential: run, expiresAt };
}

function narrowedScopes(
  subject: Actor,
  actor: { readonly id: ActorId; readonly scopes: ReadonlySet<Scope> } | null,
  asked: readonly GrantableScope[] | null,
): readonly GrantableScope[] {
  const held = actor === null ? subject.scopes : common(subject.scopes, actor.scopes);
  const over = asked?.find((scope) => !held.has(scope));
  if (over !== undefined)
    throw new OAuthFault(
      'invalid_scope',
      `The scope ${over} is more than the tokens that were presented hold.`,
    );
  const scopes = asked ?? ([...held] as GrantableScope[]);
  if (scopes.length === 0)
    throw new OAuthFault('invalid_scope', 'The subject and the actor have no scope in common.');
  return scopes;
}

/**
 * A delegate reaches what is its own, and what its teams own only where the subject reaches everything: its teams are
 * not the subject's.
 */
function narrowedReach(subject: Actor, actor: Pick<Actor, 'reach'> | null): Reach {
  if (actor === null) return subject.reach;
  return subject.reach === 'all' ? actor.reach : narrowerReach('own', actor.reach);
}

/** What both may ask for, or fewer of it: `egress` names presets and policies, with spaces between. */
function narrowedEgress(
  subject: Actor,
  actor: Pick<Actor, 'egress'> | null,
  form: Form,
): readonly string[] | null {
  const held = narrowerEgress(subject.egress, actor?.egress);
  const asked = optional(form, 'egress');
  if (asked === null) return held === undefined ? null : [...held];
  const names = [...new Set(asked.split(' ').filter((name) => name !== ''))];
  const over = names.find((name) => held !== undefined && !held.has(name));
  if (over !== undefined)
    throw new OAuthFault(
      'invalid_request',
      `The egress ${over} is more than the tokens that were presented may ask for.`,
    );
  return names;
}

/** Who acted before the actor. */
function chainOf({ act }: Presented): { readonly act?: ActClaim } {
  let depth = 1;
  for (let link = act; link !== null; link = link.act ?? null) depth += 1;
  if (depth > oauthLimits.delegationDepthMax)
    throw new OAuthFault('invalid_request', 'Too many act for one another already.');
  return act === null ? {} : { act };
}
