import { z } from 'zod';
import { isActorName } from '../model/actor.ts';
import { name, time } from './schemas.ts';

/** What people and their browsers send to sign in, and what they are told. */

/** Long enough for every password that the rules take, however many bytes its characters have. */
const passwordCharactersMax = 1_024;
const secretCharactersMax = 128;

/** What is typed as a name to sign in with; whether anybody has it is not for the schema to say. */
const typedName = z
  .string()
  .min(1)
  .max(254)
  .transform((text) => text.trim().toLowerCase());

export const password = z
  .string()
  .min(1)
  .max(passwordCharactersMax)
  .meta({ description: 'Any Unicode but NUL, from 8 to 128 characters' });

/** The name of a user: its actor is `user:<name>`, for ever. */
export const userName = z
  .string()
  .refine(isActorName, { message: 'is not 1 to 63 of a-z, 0-9 and ._@-, beginning with a letter or digit' })
  .meta({ example: 'ada' });

const secret = z.string().min(1).max(secretCharactersMax);
export const oneTimeCode = z.string().regex(/^\d{6}$/, 'is not six digits');
const recoveryCode = z.string().min(1).max(secretCharactersMax);

const base64url = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .regex(/^[A-Za-z0-9_-]+$/, 'is not base64url');
const credentialId = base64url(1_400);
const attachment = z.enum(['platform', 'cross-platform']);

/** A passkey's answer as browsers write it in JSON (WebAuthn §5.1): proof that the person has it. */
export const passkeyAnswer = z.strictObject({
  id: credentialId,
  rawId: credentialId,
  type: z.literal('public-key'),
  response: z.strictObject({
    clientDataJSON: base64url(4_096),
    authenticatorData: base64url(4_096),
    signature: base64url(8_192),
    userHandle: base64url(128).optional(),
  }),
  clientExtensionResults: z.strictObject({}),
  authenticatorAttachment: attachment.optional(),
});

/** A new passkey as browsers write it in JSON. */
export const newPasskeyAnswer = z.strictObject({
  id: credentialId,
  rawId: credentialId,
  type: z.literal('public-key'),
  response: z.strictObject({
    clientDataJSON: base64url(4_096),
    attestationObject: base64url(16_384),
    transports: z.array(z.string().max(32)).max(8).optional(),
  }),
  clientExtensionResults: z.strictObject({}),
  authenticatorAttachment: attachment.optional(),
});

/** What `navigator.credentials` takes once its base64url is bytes; written by the server, read by the browser. */
export const passkeyOptions = z.looseObject({ challenge: z.string() });

export const signInWithPassword = z.strictObject({ name: typedName, password });
export const signInWithCode = z.strictObject({ continuation: secret, code: oneTimeCode });
export const signInWithRecoveryCode = z.strictObject({ continuation: secret, code: recoveryCode });
export const signInWithPasskey = z.strictObject({ answer: passkeyAnswer });
export const signInWithTicket = z.strictObject({ ticket: secret });
export const continuation = z.strictObject({ continuation: secret });
export const enrollPasskey = z.strictObject({ continuation: secret, name, answer: newPasskeyAnswer });

export const lookAtInvitation = z.strictObject({ invitation: secret });
export const invitationSeen = z.object({
  name: z.string().nullable(),
  role: z.string(),
  expiresAt: time,
});
export const acceptInvitation = z.strictObject({
  invitation: secret,
  name: userName.optional().meta({ description: 'Only where the invitation leaves it open' }),
  displayName: name.optional(),
  password,
});

export const lookAtPasswordReset = z.strictObject({ reset: secret });
export const passwordResetSeen = z.object({ name: z.string(), expiresAt: time });
export const acceptPasswordReset = z.strictObject({ reset: secret, password });

/** A person who is signed in proves again who it is: with a passkey, or the password and what else is enrolled. */
export const stepUp = z.union([
  z.strictObject({ password, code: oneTimeCode.optional() }),
  z.strictObject({ answer: passkeyAnswer }),
]);

export const secondFactors = ['totp', 'recovery-code', 'passkey'] as const;

/**
 * `signed-in` sets the cookie. `pending` needs more within the time: a second factor where `next` is that, or, where
 * the role demands one and none is there, `enroll`; its continuation is good for that alone.
 */
export const signInAnswer = z.discriminatedUnion('state', [
  z.object({
    state: z.literal('signed-in'),
    user: z.string(),
    /** Shown once, after a first authenticator was enrolled. */
    recoveryCodes: z.array(z.string()).optional(),
  }),
  z.object({
    state: z.literal('pending'),
    next: z.enum(['second-factor', 'enroll']),
    factors: z.array(z.enum(secondFactors)),
    continuation: z.string(),
    expiresAt: time,
  }),
]);

export const signInMethods = z.object({
  /** Whether names and passwords of this server are taken. */
  local: z.boolean(),
  /** The domain of passkeys; null where there can be none. */
  passkeys: z.string().nullable(),
  providers: z.array(z.object({ id: z.string(), name: z.string(), url: z.string() })),
});

export const totpEnrollment = z.object({
  secret: z.string().meta({ description: 'Base32, for an authenticator app' }),
  uri: z.string().meta({ description: 'The same as otpauth://, for a QR code' }),
});

export type SignInWithPassword = z.infer<typeof signInWithPassword>;
export type PasskeyAnswer = z.infer<typeof passkeyAnswer>;
export type NewPasskeyAnswer = z.infer<typeof newPasskeyAnswer>;
export type PasskeyOptions = z.infer<typeof passkeyOptions>;
export type AcceptInvitation = z.infer<typeof acceptInvitation>;
export type InvitationSeen = z.infer<typeof invitationSeen>;
export type AcceptPasswordReset = z.infer<typeof acceptPasswordReset>;
export type PasswordResetSeen = z.infer<typeof passwordResetSeen>;
export type StepUp = z.infer<typeof stepUp>;
export type SignInAnswer = z.infer<typeof signInAnswer>;
export type SignInMethods = z.infer<typeof signInMethods>;
export type TotpEnrollmentView = z.infer<typeof totpEnrollment>;
