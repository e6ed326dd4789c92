import { z } from 'zod';
import { isActorName } from '../model/actor.ts';
import { type FlagName, type FlagRule, type FlagStage, flagNames, parseFlagName } from '../model/flags.ts';
import { placeOf } from './policy.ts';

/** What one rule may hold. */
export const flagLimits = { teamsMax: 100, flagsPerFileMax: 1_000 } as const;

const teamName = z.string().refine(isActorName, { message: 'is not the name of a team' });

const teams = z
  .array(teamName)
  .min(1, 'names no team')
  .max(flagLimits.teamsMax, `names more than ${flagLimits.teamsMax} teams`)
  .refine((names) => new Set(names).size === names.length, { message: 'names a team twice' });

const percentage = z.int('is not a whole number').min(0, 'is below 0').max(100, 'is above 100');

const stage = z.union([z.literal('admins'), z.strictObject({ teams }), z.strictObject({ percentage })], {
  error: 'is not admins, teams with a list of names, or percentage with a whole number',
});

const kindOf = (each: FlagStage): string => (typeof each === 'string' ? each : Object.keys(each)[0]!);

const stages = z
  .array(stage)
  .min(1, 'names no stage')
  .refine((all) => new Set(all.map(kindOf)).size === all.length, { message: 'has a stage twice' });

/** `off`, `on`, or stages of which each opens the flag to more; there is nothing else that a rule can say. */
export const flagRule: z.ZodType<FlagRule> = z
  .union([z.enum(['off', 'on']), stages], {
    error: 'is not off, on, or a list of stages: admins, teams, percentage',
  })
  .meta({
    description: 'Whom the feature is on for: nobody, everybody, or whom any stage names',
    example: ['admins', { teams: ['platform'] }, { percentage: 10 }],
  });

export const putFlag = z.strictObject({ rule: flagRule });

/** Whose word counts: the file wins over the API, and where neither says anything it is off. */
export const flagSources = ['file', 'api', 'default'] as const;

export const flagName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,62}$/, 'is not 1 to 63 lower-case letters, digits and hyphens, a letter first');

export const flagView = z.object({
  name: z.string(),
  opens: z
    .string()
    .meta({ description: 'What it opens; null for a name that no feature has any more' })
    .nullable(),
  since: z.string().nullable(),
  rule: flagRule.meta({ description: 'What holds' }),
  source: z.enum(flagSources).meta({ description: 'Whose word that is: the file wins over the API' }),
  set: z
    .object({ rule: flagRule.nullable(), author: z.string(), changedAt: z.iso.datetime() })
    .nullable()
    .meta({
      description: 'What was set over the API, whether or not it holds; a rule of null cannot be understood',
    }),
  problem: z.string().nullable().meta({ description: 'Why it is off whatever was said' }),
});

export const flagList = z.object({
  items: z.array(flagView),
  problems: z.array(z.string()).meta({ description: 'What is wrong with the file, or with what was set' }),
});

export const flagQuery = z.strictObject({
  actor: z.string().max(128).meta({ description: 'Such as user:ada', example: 'user:ada' }),
});

export const flagExplanation = z.object({
  name: z.string(),
  actor: z.string(),
  on: z.boolean(),
  by: z.string().meta({
    description: '`on`, `off`, `none` of the stages, `problem`, or the stage that names the actor',
  }),
  rule: flagRule,
  source: z.enum(flagSources),
  problem: z.string().nullable(),
});

export type PutFlag = z.infer<typeof putFlag>;
export type FlagList = z.infer<typeof flagList>;
export type FlagView = z.infer<typeof flagView>;
export type FlagExplanation = z.infer<typeof flagExplanation>;
export type FlagSource = (typeof flagSources)[number];

/** What is wrong with a file of flags; an empty path is the file. */
export type FlagProblem = { readonly path: string; readonly message: string };

/**
 * The rules that a parsed YAML or JSON text holds by name, or everything that is wrong with it. One thing that is
 * wrong makes the whole file worth nothing: half of what somebody meant is not what they meant.
 */
export function parseFlags(
  value: unknown,
): { readonly rules: ReadonlyMap<FlagName, FlagRule> } | { readonly problems: readonly FlagProblem[] } {
  if (value === null || value === undefined) return { rules: new Map() };
  if (typeof value !== 'object' || Array.isArray(value))
    return { problems: [{ path: '', message: 'is not a list of flags, such as sso-tickets: on' }] };
  const entries = Object.entries(value);
  if (entries.length > flagLimits.flagsPerFileMax)
    return { problems: [{ path: '', message: `holds more than ${flagLimits.flagsPerFileMax} flags` }] };
  const problems: FlagProblem[] = [];
  const rules = new Map<FlagName, FlagRule>();
  for (const [key, member] of entries) {
    const name = parseFlagName(key);
    const parsed = parseFlagRule(member);
    if (name === null)
      problems.push({ path: key.slice(0, 64), message: `is not a flag; there is ${flagNames.join(', ')}` });
    else if ('rule' in parsed) rules.set(name, parsed.rule);
    else problems.push(...parsed.problems.map(({ path, message }) => ({ path: `${name}${path}`, message })));
  }
  return problems.length > 0 ? { problems } : { rules };
}

/** The rule that a value is, or what is wrong with it; paths are within the rule, such as `[0].teams`. */
export function parseFlagRule(
  value: unknown,
): { readonly rule: FlagRule } | { readonly problems: readonly FlagProblem[] } {
  const result = flagRule.safeParse(value);
  return result.success ? { rule: result.data } : { problems: result.error.issues.flatMap(problemsOf) };
}

function problemsOf(issue: z.core.$ZodIssue): FlagProblem[] {
  if (issue.code !== 'unrecognized_keys') return [{ path: placeOf(issue.path), message: issue.message }];
  return issue.keys.map((key) => ({ path: placeOf([...issue.path, key]), message: 'is not a known field' }));
}
