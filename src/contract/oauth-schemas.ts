import { z } from 'zod';
import { reaches } from '../model/actor.ts';
import { scopes } from '../model/scopes.ts';
import { apiLimits } from './limits.ts';
import { id, name, time } from './schemas.ts';

/** What the API says of tokens, keys and the caller, besides what `schemas.ts` has. */

export const keyId = id('key', 'key_01kamcq5r8v0x4m2e7hj9n3tzb');

/** A key that signs access tokens, without anything secret. */
export const signingKey = z.object({
  id: keyId,
  algorithm: z.literal('EdDSA'),
  createdAt: time,
  retiredAt: time.nullable().meta({ description: 'When it stopped signing; null for the one that signs' }),
  expiresAt: time.nullable().meta({ description: 'When nothing that it signed is taken any more' }),
});

export const signingKeys = z.object({ items: z.array(signingKey) });

export const rotateKeys = z.strictObject({
  compromised: z.boolean().optional().meta({
    description:
      'Whether others may know the key: it stops verifying at once, and so does all that it signed',
  }),
});

const userCode = z
  .string()
  .min(8)
  .max(16)
  .meta({ description: 'As the device shows it', example: 'BCDF-GHJK' });

export const findDevice = z.strictObject({ userCode });
export const answerDevice = z.strictObject({ userCode, decision: z.enum(['approve', 'deny']) });

export const answerProgram = z.strictObject({
  query: z.string().min(1).max(4_096).meta({ description: 'The query of the request at /oauth2/authorize' }),
  decision: z.enum(['approve', 'deny']),
});

/** Where the browser goes: back to the program, on this machine. */
export const programAnswered = z.object({ location: z.url() });

/** A device that waits for a person to let it in, as it described itself and as it was seen. */
export const device = z.object({
  client: z.string(),
  address: z.string().nullable(),
  userAgent: z.string().nullable().meta({ description: 'Its own word' }),
  scopes: z.array(z.string()).nullable().meta({ description: 'Null for all that you may do' }),
  askedAt: time,
  expiresAt: time,
});

export const createOwnToken = z.strictObject({
  name,
  scopes: z.array(z.enum(scopes)).min(1).max(scopes.length),
  reach: z.enum(reaches).optional().meta({ description: '`own` where absent' }),
  expiresInSeconds: z.int().min(1).max(apiLimits.tokenLifeSecondsMax),
});

export const rotateToken = z.strictObject({
  overlapSeconds: z.int().min(0).max(apiLimits.tokenOverlapSecondsMax).optional().meta({
    description: 'How long the old secret still works; it ends at once where absent',
  }),
});

/** The caller, as this request sees it. */
export const whoami = z.object({
  actor: z.string(),
  role: z.string().nullable(),
  scopes: z.array(z.string()),
  reach: z.enum(reaches),
  teams: z.array(z.string()),
  onBehalfOf: z.string().nullable(),
  credential: z.string().nullable().meta({ description: 'The token, sign-in or run that proved it' }),
  signIn: z
    .object({ at: time, mfa: z.boolean() })
    .nullable()
    .meta({ description: 'When and how strongly a person proved who it is; null for machines' }),
  expiresAt: time.nullable().meta({ description: 'When the credential ends; null where that is not known' }),
});

export type SigningKeyView = z.infer<typeof signingKey>;
export type RotateKeys = z.infer<typeof rotateKeys>;
export type DeviceView = z.infer<typeof device>;
export type AnswerDevice = z.infer<typeof answerDevice>;
export type CreateOwnToken = z.infer<typeof createOwnToken>;
export type RotateToken = z.infer<typeof rotateToken>;
export type WhoamiView = z.infer<typeof whoami>;
