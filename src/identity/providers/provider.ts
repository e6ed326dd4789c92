import type { ClaimMapping } from '../../contract/providers.ts';

/** Somebody as a provider says, verified; what it may do here is for control to decide. */
export type ExternalProfile = {
  /** The id of the provider; with its issuer, `subject` names the person for ever. */
  readonly provider: string;
  readonly subject: string;
  /** In the form of an actor's name; null where the claims have none. */
  readonly userName: string | null;
  readonly displayName: string | null;
  /** For people to read: nothing is found or decided by it. */
  readonly email: string | null;
  /** What the first rule that fits gives, or the default; null where that is none. Not known to exist. */
  readonly role: string | null;
  /** Null where the provider does not decide about teams. */
  readonly teams: readonly string[] | null;
  readonly methods: readonly string[];
  readonly mfa: boolean;
  /** When the person last proved there who it is, in milliseconds; 0 where nobody can say. */
  readonly authAt: number;
  /** The provider's own session, by which it tells of a logout. */
  readonly providerSession: string | null;
};

/** One way to a provider and back. The verifier and the nonce are known to the browser's cookie alone, see `round.ts`. */
export type Round = {
  readonly state: string;
  readonly nonce: string;
  readonly verifier: string;
  readonly redirectUri: string;
  readonly startedAt: number;
  /** Whether the person must prove anew who it is, for step-up. */
  readonly fresh: boolean;
};

/** What a provider says has ended: a session of its own, or all of a person. */
export type LogoutNotice = {
  readonly subject: string | null;
  readonly session: string | null;
  /** Names this token; it is taken once. */
  readonly tokenId: string;
  /** Until when the same token must be refused. */
  readonly expiresAt: number;
};

/** A place where people sign in. Everything that comes from there is untrusted until it is verified here. */
export type Provider = {
  readonly id: string;
  readonly label: string;
  readonly kind: 'oidc' | 'github';
  readonly issuer: string;
  readonly mapping: ClaimMapping;
  readonly syncOnSignIn: boolean;
  readonly allowSignUp: boolean;
  /** Where the browser goes. Throws ProviderRefusal. */
  authorizationUrl(round: Round): Promise<URL>;
  /** Who came back with this query, which is untrusted. Throws ProviderRefusal where anything does not verify. */
  profileOf(query: URLSearchParams, round: Round): Promise<ExternalProfile>;
  /** What a logout token says. Throws ProviderRefusal where it does not verify, and where the kind has none. */
  logoutOf(token: string): Promise<LogoutNotice>;
};

/** Classes of what was wrong, for the record. */
export type RefusalReason =
  | 'unreachable'
  | 'metadata'
  | 'denied'
  | 'answer'
  | 'id-token'
  | 'userinfo'
  | 'not-fresh'
  | 'logout-token';

/** What a provider sent is not taken. `at` says where it failed, in a word of ours, such as `nonce` or `signature`. */
export class ProviderRefusal extends Error {
  readonly reason: RefusalReason;
  readonly at: string;

  constructor(reason: RefusalReason, at: string, options: { cause?: unknown } = {}) {
    super(`the provider's answer was refused: ${reason} (${at})`, options);
    this.name = 'ProviderRefusal';
    this.reason = reason;
    this.at = at;
  }
}
