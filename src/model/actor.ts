import type { RunId, SignInId, TokenId } from './ids.ts';
import type { Scope } from './scopes.ts';

/** How far an actor's scopes reach: what is its own, also what its teams own, or everything. */
export const reaches = ['own', 'team', 'all'] as const;
export type Reach = (typeof reaches)[number];

/**
 * Who asks. Always carried as a value, never ambient. `id` is `user:<name>`, `agent:<name>`, `service:<name>`
 * or `system:<name>`; it is the owner of what the actor creates. A name is never given to anybody else, so an
 * owner stays who it was.
 */
export type Actor = {
  readonly id: ActorId;
  readonly scopes: ReadonlySet<Scope>;
  readonly reach: Reach;
  /** Names of the teams it belongs to; none where absent. */
  readonly teams?: ReadonlySet<string>;
  /** The name of the role that its scopes and reach come from; absent where a token says them itself. */
  readonly role?: string;
  /**
   * Whether its credential was given less than its bearer may do: then no policy permits it anything beyond its
   * scopes. API tokens, agents, services, runs and exchanged tokens are narrowed; a person who signed in is not.
   */
  readonly narrowed?: boolean;
  /** Names of presets and policies that alone it may ask for, `full` among them; any where absent. */
  readonly egress?: ReadonlySet<string>;
  /** What proved the identity; absent for the system, the bootstrap token and the machine's own socket. */
  readonly credential?: CredentialRef;
  /** Whom it acts for, where it is not itself (RFC 8693 `act`). */
  readonly onBehalfOf?: ActorId;
  /** How a person signed in; absent for machines. */
  readonly signIn?: SignInFacts;
  /**
   * Of a machine that got what it has from a person's sign-in: when that person last proved who it is, in milliseconds.
   * Absent where `signIn` says so, and where no person's sign-in is behind it.
   */
  readonly provedAt?: number;
};

/** When the person that is or stands behind an actor last proved who it is; null where there is none. */
export function provedAt(actor: Pick<Actor, 'signIn' | 'provedAt'>): number | null {
  return actor.signIn?.at ?? actor.provedAt ?? null;
}

/** As a member of a machine, which has no sign-in of its own. */
export function provedAtOf(actor: Pick<Actor, 'signIn' | 'provedAt'>): Pick<Actor, 'provedAt'> {
  const at = provedAt(actor);
  return at === null ? {} : { provedAt: at };
}

/** The narrower of two. */
export function narrowerReach(a: Reach, b: Reach): Reach {
  return reaches[Math.min(reaches.indexOf(a), reaches.indexOf(b))]!;
}

/** What both may reach; absent is anything. */
export function narrowerEgress(
  a: ReadonlySet<string> | undefined,
  b: ReadonlySet<string> | undefined,
): ReadonlySet<string> | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return new Set([...a].filter((name) => b.has(name)));
}

/** Names a credential, never holds it. */
export type CredentialRef = TokenId | SignInId | `crd_${string}` | RunId;

export type SignInFacts = {
  /** When the person last proved who it is, in milliseconds: what step-up asks about. */
  readonly at: number;
  /** Whether by more than one factor. */
  readonly mfa: boolean;
};

export type ActorId = `${ActorKind}:${string}`;
export type ActorKind = 'user' | 'agent' | 'service' | 'system';

const namePattern = '[a-z0-9][a-z0-9._@-]{0,62}';
const actorPattern = new RegExp(`^(user|agent|service):${namePattern}$`);

/** The id of an actor that a token may stand for, or null. `system:` actors are never made from input. */
export function parseActorId(text: string): ActorId | null {
  return actorPattern.test(text) ? (text as ActorId) : null;
}

/** Whether a user, agent or service can have this name. */
export function isActorName(text: string): boolean {
  return parseActorId(`user:${text}`) !== null;
}

/** The word before the colon. */
export function actorKind(id: ActorId): ActorKind {
  return id.slice(0, id.indexOf(':')) as ActorKind;
}

/** What follows the colon. */
export function actorName(id: ActorId): string {
  return id.slice(id.indexOf(':') + 1);
}

/** Whether two renewals of one actor may do the same, as far as that comes from who it is. */
export function sameRights(a: Actor, b: Actor): boolean {
  return (
    a === b ||
    (a.reach === b.reach &&
      a.role === b.role &&
      sameMembers(a.scopes, b.scopes) &&
      sameMembers(a.teams ?? none, b.teams ?? none))
  );
}

const none: ReadonlySet<string> = new Set();

function sameMembers(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  if (a.size !== b.size) return false;
  for (const member of a) if (!b.has(member)) return false;
  return true;
}
