import type { Actor, ActorId, Reach } from '../model/actor.ts';
import type { Scope } from '../model/scopes.ts';
import type { SignInRecord } from '../store/identity-store.ts';

/** Somebody who is known by name, with what its role gives as of now. */
export type Principal = {
  readonly id: ActorId;
  readonly role: string;
  readonly scopes: ReadonlySet<Scope>;
  readonly reach: Reach;
  readonly teams: ReadonlySet<string>;
  /** The role that a user is elevated to, until then; null for none. */
  readonly elevated: {
    readonly role: string;
    readonly scopes: ReadonlySet<Scope>;
    readonly reach: Reach;
    readonly until: number;
  } | null;
};

/**
 * Everybody by name. `unknown` is a name that no user, agent or service has, which an API token of an administrator
 * may still stand for; `disabled` is one that may do nothing, removed ones included. Answers from memory are at most
 * as old as the change feed's last look; where that is too old the store is asked.
 */
export type Principals = {
  of(id: ActorId): Promise<Principal | 'unknown' | 'disabled'>;
  /** The actor of a sign-in that the store says is alive; null where its user or agent is not. */
  ofSignIn(record: SignInRecord): Promise<Actor | null>;
};
