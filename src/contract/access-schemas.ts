import { z } from 'zod';
import { parseAction } from '../model/actions.ts';
import { type ActorId, parseActorId, reaches } from '../model/actor.ts';
import { parseAddress } from '../model/ip-address.ts';
import { type GrantableScope, scopes } from '../model/scopes.ts';
import { id, pageQuery, reason, time } from './schemas.ts';

/** Roles, teams, administrators' access policies, and roles that somebody gets for a time. */

export const accessRequestLimits = {
  descriptionCharactersMax: 500,
  membersMax: 1_000,
  /** What one access policy may hold, which `access/limits.ts` counts in bytes. */
  policyCharactersMax: 32 * 1024,
  resourceCharactersMax: 128,
  elevationSecondsMin: 15 * 60,
  elevationSecondsMax: 8 * 3600,
} as const;

export const elevationId = id('elevation', 'elv_01kamcq5r8v0x4m2e7hj9n3tzb');
export const roleName = z.string().regex(/^[a-z][a-z0-9-]{0,62}$/, 'is not the name of a role');
export const teamName = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'is not the name of a team');
export const accessPolicyName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,62}$/, 'is not 1 to 63 lower-case letters, digits and hyphens, a letter first');

export const actorId = z
  .string()
  .refine((text): text is ActorId => parseActorId(text) !== null, {
    message: 'is not user:<name>, agent:<name> or service:<name> in lower case',
  })
  .meta({ description: 'Who acts', example: 'user:ada' });

const description = z
  .string()
  .max(accessRequestLimits.descriptionCharactersMax)
  .refine((text) => text.isWellFormed() && !/[\p{Cc}\u2028\u2029]/u.test(text), {
    message: 'has control characters',
  });
const isUnique = (items: readonly unknown[]) => new Set(items).size === items.length;

export const putRole = z.strictObject({
  description: description.nullable().optional(),
  scopes: z
    .array(z.enum(scopes))
    .max(scopes.length)
    .refine(isUnique, { message: 'names a scope twice' }) as z.ZodType<GrantableScope[]>,
  reach: z.enum(reaches),
});

export const role = z.object({
  name: z.string(),
  description: z.string().nullable(),
  scopes: z.array(z.string()),
  reach: z.enum(reaches),
  shipped: z.boolean().meta({ description: 'Part of the product; it cannot be changed' }),
  createdAt: time.nullable(),
});

export const putTeam = z.strictObject({
  description: description.nullable().optional(),
  members: z
    .array(actorId)
    .max(accessRequestLimits.membersMax)
    .refine(isUnique, { message: 'names a member twice' }),
});

export const team = z.object({
  name: z.string(),
  description: z.string().nullable(),
  members: z.array(z.string()),
  createdAt: time,
});

export const putAccessPolicy = z.strictObject({
  text: z
    .string()
    .min(1)
    .max(accessRequestLimits.policyCharactersMax)
    .meta({ description: 'Cedar policies; the schema is at /api/v1/access/shipped' }),
  reason: reason.optional(),
});

export const accessPolicySummary = z.object({
  name: z.string(),
  generation: z.int(),
  removed: z.boolean(),
  author: z.string(),
  reason: z.string().nullable(),
  createdAt: time,
});

export const accessPolicy = accessPolicySummary.extend({ text: z.string() });
export const accessPolicyQuery = z.strictObject({ generation: z.coerce.number().int().min(1).optional() });

export const shippedAccess = z.object({
  policies: z.string().meta({ description: 'The policies that ship, as Cedar text' }),
  schema: z.string().meta({ description: 'What policies may speak of, as a Cedar schema' }),
});

export const explainAccess = z.strictObject({
  actor: actorId.optional().meta({ description: 'The caller where absent' }),
  action: z
    .string()
    .refine((text) => parseAction(text) !== null, { message: 'is not an act that is decided' }),
  resource: z.string().min(1).max(accessRequestLimits.resourceCharactersMax).optional().meta({
    description: 'An id, or KIND:NAME; all of the kind that the act is about where absent',
    example: 'policy:web',
  }),
  address: z
    .string()
    .refine((text) => parseAddress(text) !== null, { message: 'is not an IP address' })
    .optional()
    .meta({ description: 'Where the request would come from; where this one comes from where absent' }),
});

export const accessExplanation = z.object({
  actor: z.string(),
  action: z.string(),
  resource: z.object({ kind: z.string(), id: z.string().nullable() }),
  allow: z.boolean(),
  rule: z.string(),
  determining: z
    .array(z.object({ id: z.string(), document: z.string().nullable(), label: z.string().nullable() }))
    .meta({ description: 'The policies that made the decision; none where nothing permits it' }),
  missing: z.array(z.string()).meta({ description: 'What would have to be otherwise' }),
});

export const elevationStates = ['requested', 'active', 'denied', 'ended'] as const;

export const requestElevation = z.strictObject({
  role: roleName,
  reason,
  seconds: z
    .int()
    .min(accessRequestLimits.elevationSecondsMin)
    .max(accessRequestLimits.elevationSecondsMax)
    .meta({ description: 'How long, from 15 minutes to 8 hours' }),
});

export const elevation = z.object({
  id: z.string(),
  user: z.string(),
  role: z.string(),
  reason: z.string(),
  seconds: z.int(),
  state: z.enum(elevationStates),
  requestedAt: time,
  decidedBy: z.string().nullable(),
  decidedAt: time.nullable(),
  expiresAt: time.nullable(),
});

export const elevationQuery = pageQuery.extend({
  user: actorId.optional(),
  state: z.enum(elevationStates).optional(),
});

export type PutRole = z.infer<typeof putRole>;
export type RoleView = z.infer<typeof role>;
export type PutTeam = z.infer<typeof putTeam>;
export type TeamView = z.infer<typeof team>;
export type PutAccessPolicy = z.infer<typeof putAccessPolicy>;
export type AccessPolicySummaryView = z.infer<typeof accessPolicySummary>;
export type AccessPolicyView = z.infer<typeof accessPolicy>;
export type ShippedAccessView = z.infer<typeof shippedAccess>;
export type ExplainAccess = z.infer<typeof explainAccess>;
export type AccessExplanationView = z.infer<typeof accessExplanation>;
export type RequestElevation = z.infer<typeof requestElevation>;
export type ElevationView = z.infer<typeof elevation>;
