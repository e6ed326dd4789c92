import { z } from 'zod';
import { type ActorId, parseActorId } from '../model/actor.ts';
import { scopes } from '../model/scopes.ts';
import { egressNames, id, name, pageQuery, time } from './schemas.ts';
import { userPhases } from './user-schemas.ts';

/** What administrators see and change of agents and services, and what these prove themselves with. */

export const agentLimits = {
  secretSecondsMax: 366 * 24 * 3600,
  certificateSecondsMin: 60,
  certificateSecondsMax: 24 * 3600,
  overlapSecondsMax: 90 * 24 * 3600,
  requestCharactersMax: 8_192,
  jwkMembersMax: 32,
} as const;

export const credentialId = id('credential', 'crd_01kamcq5r8v0x4m2e7hj9n3tzb');

/** A segment of a SPIFFE id, so without `@`. */
const agentName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, 'is not a name an agent can have: a-z, 0-9, . _ - and 63 characters');

export const agentId = z
  .string()
  .max(80)
  .refine((text): text is ActorId => parseActorId(text) !== null && /^(agent|service):/.test(text), {
    message: 'is not agent:<name> or service:<name>',
  })
  .meta({ description: 'The id of an agent or service', example: 'agent:planner-1' });

/** Who owns an agent: a user. */
const ownerId = z
  .string()
  .max(80)
  .refine((text): text is ActorId => text.startsWith('user:') && parseActorId(text) !== null, {
    message: 'is not user:<name>',
  });

const roleName = z.string().regex(/^[a-z][a-z0-9-]{0,62}$/, 'is not the name of a role');
const keptEgress = egressNames
  .nullable()
  .meta({ description: 'The presets and policies that alone its runs may name; null for any' });
const ownScopes = z
  .array(z.enum(scopes))
  .max(scopes.length)
  .meta({ description: 'Beyond those of its role; nobody gives what they do not hold' });

export const createAgent = z.strictObject({
  kind: z.enum(['agent', 'service']),
  name: agentName,
  displayName: name.optional(),
  owner: ownerId.optional().meta({ description: 'The caller where absent' }),
  role: roleName.meta({
    description: 'agent, planner, worker, judge or a role of your own',
    example: 'worker',
  }),
  scopes: ownScopes.optional(),
  egress: keptEgress.optional(),
});

export const updateAgent = z
  .strictObject({
    displayName: name.nullable().optional(),
    owner: ownerId.optional(),
    role: roleName.optional(),
    scopes: ownScopes.optional(),
    egress: keptEgress.optional(),
  })
  .refine((change) => Object.keys(change).length > 0, { message: 'changes nothing' });

export const agent = z.object({
  id: z.string(),
  displayName: z.string().nullable(),
  owner: z.string(),
  role: z.string(),
  scopes: z.array(z.string()),
  egress: z.array(z.string()).nullable(),
  phase: z.enum(userPhases),
  createdAt: time,
});

export const agentQuery = pageQuery.extend({ owner: ownerId.optional() });

const expiresIn = (min: number, max: number) => z.int().min(min).max(max);

export const addSecret = z.strictObject({
  name: name.optional(),
  expiresInSeconds: expiresIn(1, agentLimits.secretSecondsMax),
});

export const addKey = z.strictObject({
  name: name.optional(),
  jwk: z
    .record(z.string().max(64), z.unknown())
    .refine((jwk) => Object.keys(jwk).length <= agentLimits.jwkMembersMax, {
      message: 'has too many members',
    })
    .meta({
      description: 'A public key as a JWK (RFC 7517): Ed25519, EC on P-256, or RSA of at least 2048 bits',
    }),
  expiresInSeconds: expiresIn(1, agentLimits.secretSecondsMax).optional(),
});

export const issueCertificate = z.strictObject({
  name: name.optional(),
  request: z.string().max(agentLimits.requestCharactersMax).meta({
    description: 'A PKCS #10 request in PEM. Its key is certified; what else it asks for is not looked at',
  }),
  expiresInSeconds: expiresIn(agentLimits.certificateSecondsMin, agentLimits.certificateSecondsMax)
    .optional()
    .meta({ description: 'An hour where absent' }),
});

export const agentCredential = z.object({
  id: credentialId,
  kind: z.enum(['secret', 'public-key', 'certificate']),
  name: z.string().nullable(),
  thumbprint: z
    .string()
    .nullable()
    .meta({ description: 'Of a key (RFC 7638), or the SHA-256 of a certificate in hex; null for a secret' }),
  createdAt: time,
  expiresAt: time.nullable(),
  lastUsedAt: time.nullable(),
});

/** The only answer that ever holds the secret; it is stored hashed. */
export const createdSecret = agentCredential.extend({
  clientId: z.string().meta({ description: 'What it goes with at POST /oauth2/token' }),
  secret: z.string(),
});

export const issuedCertificate = agentCredential.extend({
  certificate: z.string().meta({ description: 'PEM' }),
  authorities: z
    .array(z.string())
    .meta({ description: 'What the server’s own certificate is verified with, PEM' }),
});

export const authorityCertificate = z.object({
  id: z.string(),
  certificate: z.string().meta({ description: 'PEM' }),
  fingerprint: z.string().meta({ description: 'SHA-256, hex' }),
  createdAt: time,
  expiresAt: time,
  signs: z.boolean().meta({ description: 'Whether it signs now; the others only verify' }),
});

export const authority = z.object({
  trustDomain: z
    .string()
    .meta({ description: 'What every name in a certificate begins with: spiffe://<this>/' }),
  certificates: z.array(authorityCertificate),
  revoked: z
    .array(z.object({ credential: z.string(), agent: z.string(), fingerprint: z.string(), revokedAt: time }))
    .meta({ description: 'Certificates that were revoked before their time' }),
});

export const rotateAuthority = z.strictObject({
  overlapSeconds: z.int().min(0).max(agentLimits.overlapSecondsMax).optional().meta({
    description:
      'How long what the earlier ones signed is taken; 30 days where absent, and 0 for a key that others may know',
  }),
});

export type CreateAgent = z.infer<typeof createAgent>;
export type UpdateAgent = z.infer<typeof updateAgent>;
export type AgentView = z.infer<typeof agent>;
export type AddSecret = z.infer<typeof addSecret>;
export type AddKey = z.infer<typeof addKey>;
export type IssueCertificate = z.infer<typeof issueCertificate>;
export type AgentCredentialView = z.infer<typeof agentCredential>;
export type CreatedSecret = z.infer<typeof createdSecret>;
export type IssuedCertificateView = z.infer<typeof issuedCertificate>;
export type AuthorityView = z.infer<typeof authority>;
export type AuthorityCertificateView = z.infer<typeof authorityCertificate>;
export type RotateAuthority = z.infer<typeof rotateAuthority>;
