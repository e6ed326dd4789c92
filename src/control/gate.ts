import { Denials } from '../audit/denials.ts';
import type { EventId, EventOutcome, NewEvent } from '../audit/event.ts';
import type { AuditLog, Recorded } from '../audit/log.ts';
import { OwedEvents } from '../audit/owed-events.ts';
import type { JsonObject } from '../base/canonical-json.ts';
import type { Clock } from '../base/clock.ts';
import { absent, Fault } from '../contract/faults.ts';
import { type ActionName, actionSpec } from '../model/actions.ts';
import { type Actor, actorKind, provedAt } from '../model/actor.ts';
import type { Access, Decision, Resource } from '../model/decide.ts';
import type { GrantableScope } from '../model/scopes.ts';
import type { Caller } from './control.ts';
import { controlLimits } from './limits.ts';
import type { Logger } from './logger.ts';

/** What somebody is about to do. `data` goes into the log: no secret, no file content. */
export type Act = {
  readonly action: ActionName;
  readonly resource: Resource;
  readonly data?: JsonObject;
};

/**
 * The one door (DESIGN §4): decide, record, act. A denial is recorded and thrown: as `resource.absent` where
 * the actor may not learn that the resource exists, else as `access.denied` whose `required` names the scope. What
 * asks a person to prove again who it is throws `auth.step-up`.
 */
export type Gate = {
  /** Whether it is allowed, without a record: for what a list holds. */
  may(caller: Caller, act: Act): boolean;
  /** Whether a policy forbids it, whatever scope or reach the caller lacks; without a record. */
  forbids(caller: Caller, act: Act): boolean;
  /** An ordinary read: decided, not recorded unless it is denied. */
  read(caller: Caller, act: Act): Promise<void>;
  /** A read worth a line: recorded durably before it happens. Throws Fault `audit.unavailable`. */
  privileged(caller: Caller, act: Act): Promise<Recorded>;
  /**
   * The effect happens only after its attempt is on the disk; else Fault `audit.unavailable` and nothing
   * happens. The outcome is a second event that the answer does not wait for: the attempt already proves who
   * did what. An outcome that cannot be written makes `health` fail and is owed until it can.
   */
  act<T>(caller: Caller, act: Act, effect: () => Promise<T>): Promise<T>;
  /**
   * For stop, revoke and close: decided like everything, but the effect happens even if nothing can be
   * recorded. What was not recorded is owed to the log and written, as late, when writing works again.
   */
  contain<T>(caller: Caller, act: Act, effect: () => Promise<T>): Promise<T>;
  /** A denial that only the use case can see. Records it and returns what to throw. */
  refuse(caller: Caller, act: Act, denial: Denial): Promise<Fault>;
  /** Something that happened by itself; owed like an outcome. */
  note(event: SystemNote): void;
  /** Something that must be on record before it goes on: durable once it resolves. Throws Fault `audit.unavailable`. */
  record(event: SystemNote): Promise<void>;
  health(): { readonly ok: boolean; readonly detail?: string };
  /** Events that could not be written yet, and events on their way to the disk that nobody waits for. */
  owed(): number;
  pending(): number;
  /** Resolves once everything that was recorded so far is on the disk or owed. */
  settled(): Promise<void>;
  close(): Promise<void>;
};

export type Denial = { readonly rule: string; readonly detail: string; readonly required?: GrantableScope };

export type SystemNote = {
  readonly action: string;
  readonly actor: Pick<Actor, 'id' | 'credential' | 'onBehalfOf'>;
  readonly resource: Resource;
  readonly outcome: EventOutcome;
  readonly rule: string;
  readonly request?: Caller['request'];
  readonly data?: JsonObject;
  /** Set where repetitions are counted instead of written, as with failed sign-ins. */
  readonly countAs?: string;
};

export type GateOptions = {
  readonly audit: AuditLog;
  readonly access: Access;
  readonly clock: Clock;
  readonly logger: Logger;
};

export function openGate(options: GateOptions): Gate {
  return new AuditGate(options);
}

class AuditGate implements Gate {
  readonly #audit: AuditLog;
  readonly #access: Access;
  readonly #clock: Clock;
  readonly #owed: OwedEvents;
  readonly #denials: Denials;

  constructor(options: GateOptions) {
    this.#audit = options.audit;
    this.#access = options.access;
    this.#clock = options.clock;
    this.#owed = new OwedEvents({ ...options, writer: 'system:control' });
    this.#denials = new Denials({
      clock: options.clock,
      write: (event) => this.#owed.append(event),
    });
  }

  may(caller: Caller, act: Act): boolean {
    return this.#decide(caller, act).allow;
  }

  forbids(caller: Caller, act: Act): boolean {
    const decision = this.#decide(caller, act);
    return !decision.allow && decision.forbidden;
  }

  async read(caller: Caller, act: Act): Promise<void> {
    await this.#admit(caller, act);
  }

  async privileged(caller: Caller, act: Act): Promise<Recorded> {
    const { rule } = await this.#admit(caller, act);
    return await this.#audit.append(eventOf(caller, act, { phase: 'note', outcome: 'succeeded' }, rule));
  }

  async act<T>(caller: Caller, act: Act, effect: () => Promise<T>): Promise<T> {
    const { rule } = await this.#admit(caller, act);
    const attempt = eventOf(caller, act, { phase: 'attempt', outcome: 'allowed' }, rule);
    const { id } = await this.#audit.append(attempt);
    return await this.#follow(caller, act, rule, id, effect);
  }

  async contain<T>(caller: Caller, act: Act, effect: () => Promise<T>): Promise<T> {
    const { rule } = await this.#admit(caller, act);
    const attempt = eventOf(caller, act, { phase: 'attempt', outcome: 'allowed' }, rule);
    const recorded = await this.#audit.append(attempt).catch(() => null);
    if (recorded === null)
      this.#owed.keep(eventOf(caller, act, { phase: 'note', outcome: 'allowed' }, `${rule}:containment`));
    return await this.#follow(caller, act, rule, recorded?.id ?? null, effect);
  }

  async refuse(caller: Caller, act: Act, denial: Denial): Promise<Fault> {
    const { rule, detail, required } = denial;
    await this.#recordDenial(caller, act, rule);
    return new Fault('access.denied', { detail, extra: required === undefined ? {} : { required } });
  }

  note(event: SystemNote): void {
    const written = noteOf(event);
    if (event.countAs === undefined) void this.#owed.append(written);
    else void this.#denials.record(event.actor.id, event.countAs, written);
  }

  async record(event: SystemNote): Promise<void> {
    await this.#audit.append(noteOf(event));
  }

  health(): { ok: boolean; detail?: string } {
    const health = this.#audit.health();
    if (!health.ok) return { ok: false, detail: health.reason };
    const owed = this.#owed.size;
    return owed === 0 ? { ok: true } : { ok: false, detail: `${owed} events wait to be written again` };
  }

  owed(): number {
    return this.#owed.size;
  }

  pending(): number {
    return this.#owed.pending;
  }

  settled(): Promise<void> {
    return this.#owed.settled();
  }

  async close(): Promise<void> {
    this.#denials.close();
    await this.#owed.close();
  }

  #decide({ actor, request: { address } }: Caller, { action, resource }: Act): Decision {
    return this.#access.decide(actor, action, resource, { address });
  }

  async #admit(caller: Caller, act: Act): Promise<Decision & { allow: true }> {
    const decision = this.#decide(caller, act);
    if (decision.allow) {
      await this.#requireStepUp(caller, act);
      return decision;
    }
    const recorded = this.#recordDenial(caller, act, decision.rule);
    // Waiting for the disk would tell a foreign resource from an absent one by time.
    if (!decision.visible) throw absent(act.resource.kind);
    await recorded;
    throw denied(decision);
  }

  /**
   * A session that was left open, or taken, is not enough for what is dangerous (RFC 9470), nor is what was made of it
   * with fewer rights.
   */
  async #requireStepUp(caller: Caller, act: Act): Promise<void> {
    const at = provedAt(caller.actor);
    const { stepUpMs } = controlLimits;
    if (actionSpec(act.action).stepUp !== true || at === null) return;
    if (this.#clock.now() - at <= stepUpMs) return;
    await this.#recordDenial(caller, act, 'step-up');
    throw new Fault('auth.step-up', {
      detail: 'Prove again who you are: sign in once more, then repeat this within a few minutes.',
      extra: { maxAgeSeconds: stepUpMs / 1000 },
    });
  }

  async #recordDenial(caller: Caller, act: Act, rule: string): Promise<void> {
    const { id = '', kind } = act.resource;
    const key = `${act.action} ${rule} ${kind} ${id}`;
    const denied = eventOf(caller, act, { phase: 'attempt', outcome: 'denied' }, rule);
    await this.#denials.record(caller.actor.id, key, denied);
  }

  async #follow<T>(
    caller: Caller,
    act: Act,
    rule: string,
    attempt: EventId | null,
    effect: () => Promise<T>,
  ): Promise<T> {
    try {
      const result = await effect();
      this.#outcome(caller, act, rule, attempt, 'succeeded');
      return result;
    } catch (error) {
      this.#outcome(caller, act, rule, attempt, 'failed', error instanceof Fault ? error.code : 'internal');
      throw error;
    }
  }

  #outcome(
    caller: Caller,
    act: Act,
    rule: string,
    of: EventId | null,
    outcome: 'succeeded' | 'failed',
    code?: string,
  ): void {
    const ended = code === undefined ? act : { ...act, data: { code } };
    const stage =
      of === null ? { phase: 'note' as const, outcome } : { phase: 'outcome' as const, outcome, of };
    void this.#owed.append(eventOf(caller, ended, stage, rule));
  }
}

function noteOf(event: SystemNote): NewEvent {
  return {
    action: event.action,
    actor: eventActor(event.actor),
    resource: eventResource(event.resource),
    decision: { allow: event.outcome !== 'denied', rule: event.rule },
    phase: 'note',
    outcome: event.outcome,
    ...(event.request === undefined ? {} : { request: event.request }),
    ...(event.data === undefined ? {} : { data: event.data }),
  };
}

type Stage =
  | { readonly phase: 'attempt'; readonly outcome: 'allowed' | 'denied' }
  | { readonly phase: 'outcome'; readonly outcome: 'succeeded' | 'failed'; readonly of: EventId }
  | { readonly phase: 'note'; readonly outcome: EventOutcome };

function eventOf(caller: Caller, act: Act, stage: Stage, rule: string): NewEvent {
  return {
    action: act.action,
    actor: eventActor(caller.actor),
    resource: eventResource(act.resource),
    decision: { allow: stage.outcome !== 'denied', rule },
    request: caller.request,
    ...(act.data === undefined ? {} : { data: act.data }),
    ...stage,
  };
}

/** Who acted, by which credential and for whom. */
function eventActor({
  id,
  credential,
  onBehalfOf,
}: Pick<Actor, 'id' | 'credential' | 'onBehalfOf'>): NewEvent['actor'] {
  return {
    id,
    kind: actorKind(id),
    ...(credential === undefined ? {} : { token: credential }),
    ...(onBehalfOf === undefined ? {} : { onBehalfOf }),
  };
}

function denied({ rule, needs }: Extract<Decision, { allow: false }>): Fault {
  if (needs !== null && rule === `scope:${needs}:missing`)
    return new Fault('access.denied', {
      detail: `This needs the scope ${needs}, which you do not hold here.`,
      extra: { required: needs },
    });
  return new Fault('access.denied', { detail: `This is not allowed, by ${rule}.`, extra: { rule } });
}

function eventResource({ kind, id, session }: Resource): NewEvent['resource'] {
  return { kind, ...(id === undefined ? {} : { id }), ...(session === undefined ? {} : { session }) };
}
