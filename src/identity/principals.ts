import type { Clock } from '../base/clock.ts';
import {
  type Actor,
  type ActorId,
  actorKind,
  actorName,
  narrowerEgress,
  narrowerReach,
  type Reach,
} from '../model/actor.ts';
import { type GrantableScope, roleReach, roles, type Scope } from '../model/scopes.ts';
import type { IdentityStore, RoleRecord, SignInRecord } from '../store/identity-store.ts';
import type { ChangeFeed } from './change-feed.ts';
import { identityLimits } from './limits.ts';

/** What a role gives. */
export type Rights = { readonly role: string; readonly scopes: ReadonlySet<Scope>; readonly reach: Reach };

/** Somebody who is known by name, with what its role gives as of now. */
export type Principal = Rights & {
  readonly id: ActorId;
  readonly teams: ReadonlySet<string>;
  /** What alone it may ask for, whatever it runs; absent for anything. */
  readonly egress?: ReadonlySet<string>;
  /** What a user is elevated to, until then; null for none. */
  readonly elevated: (Rights & { readonly until: number }) | null;
};

/**
 * Everybody by name. `unknown` is a name that no user, agent or service has, which an API token of an administrator
 * may still stand for; `disabled` is one that may do nothing. Answers from memory are at most as old as the change
 * feed's last look; where that is too old the store is asked.
 */
export type Principals = {
  of(id: ActorId): Promise<Principal | 'unknown' | 'disabled'>;
  /** The actor of a sign-in that the store says is alive; null where its user or agent is not. */
  ofSignIn(record: SignInRecord): Promise<Actor | null>;
};

export type PrincipalsOptions = {
  readonly store: Pick<IdentityStore, 'users' | 'agents' | 'roles' | 'teams' | 'elevations'>;
  readonly changes: ChangeFeed;
  readonly clock: Clock;
};

type Known = Principal | 'unknown' | 'disabled';
const dropping: ReadonlySet<string> = new Set(['user', 'agent', 'role', 'team', 'elevation']);

export function openPrincipals(options: PrincipalsOptions): Principals {
  return new PrincipalDirectory(options);
}

class PrincipalDirectory implements Principals {
  readonly #options: PrincipalsOptions;
  readonly #known = new Map<ActorId, Known>();
  /** Grows with every change, so that an answer that was on its way is not kept. */
  #generation = 0;

  constructor(options: PrincipalsOptions) {
    this.#options = options;
    options.changes.on(({ kind }) => {
      if (!dropping.has(kind)) return;
      this.#generation += 1;
      this.#known.clear();
    });
  }

  async of(id: ActorId): Promise<Known> {
    const kept = this.#options.changes.isFresh ? this.#known.get(id) : undefined;
    if (kept !== undefined && !isOver(kept, this.#options.clock.now())) return kept;
    const generation = this.#generation;
    const found = await this.#look(id);
    if (generation !== this.#generation) return found;
    if (this.#known.size >= identityLimits.principalsMax) this.#known.clear();
    this.#known.set(id, found);
    return found;
  }

  async ofSignIn(record: SignInRecord): Promise<Actor | null> {
    const known = await this.of(record.actor);
    if (known === 'disabled') return null;
    // Only what was exchanged for a token of an administrator may stand for a name that nobody has.
    if (known === 'unknown') return record.scopes === null ? null : unknownActor(record, record.scopes);
    const isPerson = actorKind(record.actor) === 'user' && !isNarrowed(record);
    const { role, scopes, reach } = isPerson ? (known.elevated ?? known) : known;
    return {
      id: record.actor,
      scopes: record.scopes === null ? scopes : common(scopes, record.scopes),
      reach: record.reach === null ? reach : narrowerReach(reach, record.reach),
      teams: known.teams,
      role,
      narrowed: !isPerson,
      credential: record.id,
      ...egressOf(narrowerEgress(known.egress, setOf(record.egress))),
      ...(record.onBehalfOf === null ? {} : { onBehalfOf: record.onBehalfOf }),
      ...proofFacts(record, isPerson),
    };
  }

  async #look(id: ActorId): Promise<Known> {
    const kind = actorKind(id);
    if (kind === 'system') return 'unknown';
    return kind === 'user' ? await this.#user(id) : await this.#agent(id);
  }

  async #user(id: ActorId): Promise<Known> {
    const { store, clock } = this.#options;
    const user = await store.users.get(actorName(id));
    if (user === null) return 'unknown';
    if (user.phase !== 'active') return 'disabled';
    const elevation = await store.elevations.activeOf(id, clock.now());
    const until = elevation?.expiresAt ?? null;
    // Whoever is not eligible any more is not elevated either, whatever was approved before.
    const elevated =
      elevation === null || until === null || !user.eligibleRoles.includes(elevation.role)
        ? null
        : { ...(await this.#rights(elevation.role)), until };
    return { ...(await this.#rights(user.role)), id, teams: await this.#teams(id), elevated };
  }

  /** A machine stops with its owner, who may know its secrets; another owner sets it going again. */
  async #agent(id: ActorId): Promise<Known> {
    const { agents, users } = this.#options.store;
    const agent = await agents.get(id);
    if (agent === null) return 'unknown';
    const owner = actorKind(agent.owner) === 'user' ? await users.get(actorName(agent.owner)) : null;
    if (agent.phase !== 'active' || owner?.phase === 'disabled') return 'disabled';
    const { role, scopes, reach } = await this.#rights(agent.role);
    const held = new Set<Scope>([...scopes, ...agent.scopes]);
    const teams = await this.#teams(id);
    return { id, role, scopes: held, reach, teams, ...egressOf(setOf(agent.egress)), elevated: null };
  }

  async #teams(id: ActorId): Promise<ReadonlySet<string>> {
    return new Set(await this.#options.store.teams.of(id));
  }

  async #rights(role: string): Promise<Rights> {
    return shippedRole(role) ?? ownRole(role, await this.#options.store.roles.get(role));
  }
}

/** Of what was exchanged, only what it came from can say it. */
function proofFacts(
  { actor, authAt: at, mfa, parent }: SignInRecord,
  isPerson: boolean,
): Pick<Actor, 'signIn' | 'provedAt'> {
  if (isPerson) return { signIn: { at, mfa } };
  return actorKind(actor) === 'user' && parent === null ? { provedAt: at } : {};
}

function isNarrowed({ scopes, reach, egress, onBehalfOf }: SignInRecord): boolean {
  return scopes !== null || reach !== null || egress !== null || onBehalfOf !== null;
}

function setOf(names: readonly string[] | null): ReadonlySet<string> | undefined {
  return names === null ? undefined : new Set(names);
}

/** As a member of an actor: absent where it is anything. */
export function egressOf(egress: ReadonlySet<string> | undefined): { egress?: ReadonlySet<string> } {
  return egress === undefined ? {} : { egress };
}

/** An elevation that ended by its time, without any change in the store. */
function isOver(known: Known, now: number): boolean {
  return typeof known === 'object' && known.elevated !== null && known.elevated.until <= now;
}

/** What a role that ships with the product gives, or null. */
export function shippedRole(role: string): Rights | null {
  if (!Object.hasOwn(roles, role)) return null;
  const name = role as keyof typeof roles;
  return { role, scopes: new Set<Scope>(roles[name]), reach: roleReach[name] };
}

/** A role that is gone gives nothing. */
function ownRole(role: string, record: RoleRecord | null): Rights {
  if (record === null) return { role, scopes: new Set(), reach: 'own' };
  return { role, scopes: new Set<Scope>(record.scopes), reach: record.reach };
}

function unknownActor(record: SignInRecord, scopes: readonly GrantableScope[]): Actor {
  const { actor: id, id: credential, onBehalfOf } = record;
  const behalf = onBehalfOf === null ? {} : { onBehalfOf };
  const reach = record.reach ?? 'own';
  const egress = egressOf(setOf(record.egress));
  return { id, scopes: new Set<Scope>(scopes), reach, narrowed: true, credential, ...egress, ...behalf };
}

/** What both hold; `*` on one side is all of the other. */
export function common(held: ReadonlySet<Scope>, asked: Iterable<Scope>): ReadonlySet<Scope> {
  const both = new Set<Scope>();
  for (const scope of asked) if (held.has(scope) || held.has('*')) both.add(scope);
  return both;
}
