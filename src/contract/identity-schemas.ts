import { z } from 'zod';
import { userName } from './sign-in-schemas.ts';

/** By which persons of other providers a user is known. */

export const providerId = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, 'is not the id of a provider');

/** What the provider calls the person, for ever: `sub`, or the number of a GitHub account. */
export const subject = z
  .string()
  .regex(/^[\x20-\x7E]{1,255}$/, 'is not a subject: 1 to 255 printable ASCII characters');

export const linkIdentity = z.strictObject({ provider: providerId, subject });

export const linkedIdentity = z.object({
  provider: z
    .string()
    .nullable()
    .meta({ description: 'The id in providers.yaml; null where no provider there has this issuer any more' }),
  issuer: z.string(),
  subject: z.string(),
});

export const linkedIdentities = z.object({ items: z.array(linkedIdentity) });

export const identityParams = z.strictObject({ name: userName, provider: providerId, subject });

export type LinkIdentity = z.infer<typeof linkIdentity>;
export type LinkedIdentityView = z.infer<typeof linkedIdentity>;
