import {
  type EvaluationContext,
  type JsonValue,
  OpenFeatureEventEmitter,
  type Provider,
  ProviderEvents,
  type ResolutionDetails,
  StandardResolutionReasons,
  TypeMismatchError,
} from '@openfeature/server-sdk';
import type { ActorId } from '../model/actor.ts';
import { decideFlag, type FlagDecision, type FlagSubject, parseFlagName } from '../model/flags.ts';
import type { FlagRules } from './flag-rules.ts';

/**
 * Our flags for OpenFeature (https://openfeature.dev/specification/sections/providers). All of them are booleans. What is not a
 * flag, and who is not an actor, is answered with false and not with the default that the asker brought: nothing
 * opens by a mistake.
 */
export class FlagsProvider implements Provider {
  readonly metadata = { name: 'sealwright' } as const;
  readonly runsOn = 'server';
  readonly events = new OpenFeatureEventEmitter();
  readonly #rules: Pick<FlagRules, 'of'>;

  constructor(rules: Pick<FlagRules, 'of'>) {
    this.#rules = rules;
  }

  /** Tells everybody who listens at a client that these flags hold otherwise from now on. */
  changed(names: readonly string[]): void {
    this.events.emit(ProviderEvents.ConfigurationChanged, { flagsChanged: [...names] });
  }

  async resolveBooleanEvaluation(
    flag: string,
    _fallback: boolean,
    context: EvaluationContext,
  ): Promise<ResolutionDetails<boolean>> {
    const name = parseFlagName(flag);
    if (name === null) return refused('there is no such flag');
    const subject = subjectOf(context);
    if (subject === null) return refused('the context names no actor');
    const { rule, source, problem } = this.#rules.of(name);
    const { on, by } = decideFlag(name, rule, subject);
    return {
      value: on,
      variant: problem === null ? by : 'problem',
      reason: problem === null ? reasonOf({ on, by }) : StandardResolutionReasons.ERROR,
      flagMetadata: { source },
    };
  }

  async resolveStringEvaluation(): Promise<ResolutionDetails<string>> {
    throw new TypeMismatchError('flags are booleans');
  }

  async resolveNumberEvaluation(): Promise<ResolutionDetails<number>> {
    throw new TypeMismatchError('flags are booleans');
  }

  async resolveObjectEvaluation<T extends JsonValue>(): Promise<ResolutionDetails<T>> {
    throw new TypeMismatchError('flags are booleans');
  }
}

function refused(message: string): ResolutionDetails<boolean> {
  return { value: false, variant: 'problem', reason: StandardResolutionReasons.ERROR, errorMessage: message };
}

function reasonOf({ on, by }: FlagDecision): string {
  if (by === 'off') return StandardResolutionReasons.DISABLED;
  if (by === 'on') return StandardResolutionReasons.STATIC;
  if (!on) return StandardResolutionReasons.DEFAULT;
  return by.startsWith('percentage:')
    ? StandardResolutionReasons.SPLIT
    : StandardResolutionReasons.TARGETING_MATCH;
}

/** The actor as OpenFeature carries it. */
export function contextOf({ id, role, teams }: FlagSubject): EvaluationContext {
  return { targetingKey: id, teams: [...(teams ?? [])], ...(role === undefined ? {} : { role }) };
}

/** Null where the context does not say whose flag is asked for. */
function subjectOf({ targetingKey, role, teams }: EvaluationContext): FlagSubject | null {
  if (targetingKey === undefined || !/^(user|agent|service|system):./.test(targetingKey)) return null;
  const names = Array.isArray(teams) ? teams.filter((team) => typeof team === 'string') : [];
  return {
    id: targetingKey as ActorId,
    teams: new Set(names),
    ...(typeof role === 'string' ? { role } : {}),
  };
}
