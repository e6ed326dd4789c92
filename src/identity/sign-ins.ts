import type { Actor, ActorId, Reach } from '../model/actor.ts';
import type { SignInId } from '../model/ids.ts';
import type { GrantableScope } from '../model/scopes.ts';
import type { SignInRecord } from '../store/identity-store.ts';

/** How somebody proved who it is. */
export type Proof = {
  readonly at: number;
  /** RFC 8176 values, such as `pwd`, `otp`, `hwk`, `mfa`. */
  readonly methods: readonly string[];
  readonly mfa: boolean;
  readonly provider: string | null;
  readonly providerSession: string | null;
};

export type NewSignIn = {
  readonly actor: ActorId;
  readonly proof: Proof;
  readonly address: string | null;
  readonly userAgent: string | null;
};

/**
 * Sign-ins and what comes from them. Ending one reaches every process within the change feed's interval: its
 * cookie, its access tokens and its refresh tokens stop working, and its live streams end.
 */
export type SignIns = {
  /** A browser's. The cookie's value is known here and to the caller once. */
  openBrowser(signIn: NewSignIn): Promise<{ readonly record: SignInRecord; readonly cookie: string }>;
  /** A program's, of a person or a machine; the refresh token is null where `refreshable` is false. */
  openProgram(
    signIn: NewSignIn & {
      readonly client: string;
      readonly scopes: readonly GrantableScope[] | null;
      /** What its reach is narrowed to; null for its actor's. */
      readonly reach: Reach | null;
      readonly onBehalfOf?: ActorId | null;
      readonly parent?: string | null;
      readonly refreshable: boolean;
      /** The most that it may live; the configured life where absent. */
      readonly expiresAt?: number;
    },
  ): Promise<{ readonly record: SignInRecord; readonly refreshToken: string | null }>;
  /** The actor of a cookie, or null. Notes the use. */
  ofCookie(cookie: string): Promise<Actor | null>;
  /** The actor of a live sign-in, from memory where that may be believed; null where it has ended. Notes the use. */
  actorOf(id: SignInId): Promise<Actor | null>;
  /** One caller alone gets the next token; a token that comes again ends its sign-in everywhere. */
  refresh(
    refreshToken: string,
    client: string,
  ): Promise<
    | { readonly outcome: 'refreshed'; readonly record: SignInRecord; readonly refreshToken: string }
    | { readonly outcome: 'reused'; readonly record: SignInRecord }
    | { readonly outcome: 'refused' }
  >;
  /** After step-up. A browser gets another cookie, so that one stolen before is worth nothing. */
  prove(id: SignInId, proof: Proof): Promise<{ readonly cookie: string | null } | null>;
  end(id: SignInId, reason: string): Promise<boolean>;
  endAllOf(actor: ActorId, reason: string, except: SignInId | null): Promise<number>;
};
