import assert from 'node:assert/strict';
import { absent, Fault } from '../../contract/faults.ts';
import { type SignInError, signInErrors } from '../../contract/sign-in-page.ts';
import { providerLimits } from '../../identity/providers/limits.ts';
import {
  type ExternalProfile,
  type Provider,
  ProviderRefusal,
  type RefusalReason,
  type Round,
} from '../../identity/providers/provider.ts';
import { isRoundSecret, newRoundSecret, roundProofs } from '../../identity/providers/round.ts';
import { sameHash, secretHash } from '../../identity/token-secret.ts';
import type { UserRecord } from '../../store/identity-store.ts';
import { openSignIn } from './completion.ts';
import { providerLogout } from './provider-logout.ts';
import type { ProviderDenial, ProviderParts } from './provider-parts.ts';
import { admit } from './provider-users.ts';
import type { Asked } from './sign-in-parts.ts';

/** Signing in at other providers. Nobody is known here yet; every outcome is on the record. */
export type ProviderSignInUseCases = {
  /** In the order in which they are offered. */
  list(): readonly Pick<Provider, 'id' | 'label' | 'kind'>[];
  /** Where the browser goes, and the secret that binds it to this round; `fresh` for step-up. */
  start(asked: Asked, id: string, how: { next: string; fresh: boolean }): Promise<RoundStart>;
  /** With what came back, untrusted, from the browser that has `secret`. */
  finish(
    asked: Asked,
    id: string,
    back: { query: URLSearchParams; secret: string | null },
  ): Promise<RoundEnd>;
  /**
   * A provider's own word that somebody signed out there. Containment: it works while nothing can be recorded. Throws
   * Fault `request.invalid` where the token is not to be believed.
   */
  logout(asked: Asked, id: string, token: string): Promise<void>;
};

export type RoundStart =
  | { readonly location: string; readonly secret: string }
  | { readonly error: SignInError };
export type RoundEnd = { readonly cookie: string; readonly next: string } | { readonly error: SignInError };

/** What the store keeps of a round. Nothing of it redeems a code; see `identity/providers/round.ts`. */
type KeptRound = {
  readonly provider: string;
  readonly browser: string;
  readonly next: string;
  readonly fresh: boolean;
  readonly startedAt: number;
};

export function providerSignInUseCases(parts: ProviderParts): ProviderSignInUseCases {
  const known = (id: string) => {
    const provider = parts.providers.get(id);
    if (provider === undefined) throw absent('provider');
    return provider;
  };
  return {
    list: () => [...parts.providers.values()].map(({ id, label, kind }) => ({ id, label, kind })),
    start: async (asked, id, how) => await start(parts, asked, known(id), how),
    finish: async (asked, id, back) => await finish(parts, asked, known(id), back),
    logout: async (asked, id, token) => await providerLogout(parts, asked, known(id), token),
  };
}

async function start(
  parts: ProviderParts,
  asked: Asked,
  provider: Provider,
  { next, fresh }: { next: string; fresh: boolean },
): Promise<RoundStart> {
  const { store, clock } = parts;
  const secret = newRoundSecret();
  const state = newRoundSecret();
  const startedAt = clock.now();
  const kept: KeptRound = { provider: provider.id, browser: secretHash(secret), next, fresh, startedAt };
  try {
    const location = await provider.authorizationUrl(roundOf(parts, kept, { secret, state }));
    const expiresAt = startedAt + providerLimits.roundMs;
    await store.identity.oneTimes.put('provider-state', secretHash(state), kept, expiresAt);
    return { location: location.href, secret };
  } catch (error) {
    return { error: refused(parts, asked, provider, denialOf(error)) };
  }
}

function roundOf(
  { signInConfig }: ProviderParts,
  { provider, fresh, startedAt }: KeptRound,
  { secret, state }: { secret: string; state: string },
): Round {
  const redirectUri = `${signInConfig.publicUrl}/auth/providers/${provider}/callback`;
  return { state, ...roundProofs(secret, state), redirectUri, fresh, startedAt };
}

async function finish(
  parts: ProviderParts,
  asked: Asked,
  provider: Provider,
  { query, secret }: { query: URLSearchParams; secret: string | null },
): Promise<RoundEnd> {
  try {
    const taken = await takeRound(parts, provider, query, secret);
    if ('denied' in taken) return { error: refused(parts, asked, provider, taken.denied) };
    const profile = await provider.profileOf(query, taken.round);
    const admitted = await admit(parts, asked, provider, profile);
    if ('denied' in admitted) return { error: refused(parts, asked, provider, admitted.denied) };
    const cookie = await open(parts, asked, profile, admitted.user);
    return { cookie, next: taken.next };
  } catch (error) {
    return { error: refused(parts, asked, provider, denialOf(error)) };
  }
}

type Taken = { readonly round: Round; readonly next: string } | { readonly denied: ProviderDenial };

/** Used up whatever follows, and of use only to the browser that began it, at the provider where it began. */
async function takeRound(
  parts: ProviderParts,
  provider: Provider,
  query: URLSearchParams,
  secret: string | null,
): Promise<Taken> {
  const over = (at: string): Taken => ({ denied: { error: 'round-over', reason: 'round', at } });
  const state = query.get('state') ?? '';
  if (!isRoundSecret(state)) return over('state');
  const { store, clock } = parts;
  const kept = (await store.identity.oneTimes.take(
    'provider-state',
    secretHash(state),
    clock.now(),
  )) as KeptRound | null;
  if (kept === null) return over('state');
  if (kept.provider !== provider.id) return over('provider');
  if (secret === null || !isRoundSecret(secret) || !sameHash(secretHash(secret), kept.browser))
    return over('browser');
  return { round: roundOf(parts, kept, { secret, state }), next: kept.next };
}

/** By what was proved there, when it was proved there. */
async function open(
  parts: ProviderParts,
  asked: Asked,
  profile: ExternalProfile,
  user: UserRecord,
): Promise<string> {
  const { provider, providerSession, mfa, authAt, methods } = profile;
  const shown = mfa && !methods.includes('mfa') ? [...methods, 'mfa'] : methods;
  const proved = { at: authAt, methods: shown, mfa, provider, providerSession };
  const { cookie } = await openSignIn(parts, asked, user, proved);
  assert(cookie !== null, 'whoever is signed in has a cookie');
  return cookie;
}

/** Records it, repetitions counted, and returns what the page says. */
function refused(
  parts: ProviderParts,
  asked: Asked,
  provider: Provider,
  denial: ProviderDenial,
): SignInError {
  const { error, reason, at, user } = denial;
  parts.gate.note({
    action: 'sign-in.provider',
    actor: { id: 'system:nobody' },
    resource: user === undefined ? { kind: 'user' } : { kind: 'user', id: user },
    outcome: 'denied',
    rule: `provider:${reason}`,
    request: asked,
    data: { provider: provider.id, ...(at === undefined ? {} : { at }) },
    countAs: `sign-in.provider ${provider.id} ${reason} ${at ?? ''} ${user ?? ''} ${asked.address ?? 'local'}`,
  });
  return error;
}

const errorsOf: Readonly<Record<RefusalReason, SignInError>> = {
  unreachable: 'provider-unavailable',
  metadata: 'provider-unavailable',
  denied: 'provider-denied',
  answer: 'answer-refused',
  'id-token': 'answer-refused',
  userinfo: 'answer-refused',
  'not-fresh': 'not-fresh',
  'logout-token': 'answer-refused',
};

/** A page says that it does not work at the moment; a bug is one wherever it happens. */
function denialOf(error: unknown): ProviderDenial {
  if (error instanceof ProviderRefusal) {
    const { reason, at } = error;
    return { error: errorsOf[reason], reason, at };
  }
  if (error instanceof Fault && error.code === 'access.denied')
    return { error: 'not-from-here', reason: 'network' };
  if (error instanceof Fault && error.status >= 503) return { error: 'unavailable', reason: error.code };
  throw error;
}

/** The page that says why, in a text from a closed list. */
export function signInErrorPath(error: SignInError): string {
  return `/login?error=${error in signInErrors ? error : 'unavailable'}`;
}
