import { z } from 'zod';
import { id, name, time } from './schemas.ts';
import { newPasskeyAnswer, oneTimeCode, password } from './sign-in-schemas.ts';

/** What a person sees and changes of the own account. */

export const signInId = id('signIn', 'sgn_01kamcq5r8v0x4m2e7hj9n3tzb');

export const passkey = z.object({
  id: z.string(),
  name: z.string(),
  createdAt: time,
  lastUsedAt: time.nullable(),
});

export const account = z.object({
  name: z.string(),
  displayName: z.string().nullable(),
  email: z.string().nullable(),
  role: z.string(),
  eligibleRoles: z.array(z.string()),
  teams: z.array(z.string()),
  scopes: z.array(z.string()).meta({ description: 'What this sign-in may do now' }),
  password: z.boolean().meta({ description: 'Whether it has a password here' }),
  totp: z.boolean(),
  recoveryCodesLeft: z.int(),
  passkeys: z.array(passkey),
  signIn: z.object({
    id: z.string().nullable(),
    at: time,
    mfa: z.boolean(),
  }),
  lastSignInAt: time.nullable(),
});

export const changePassword = z.strictObject({ current: password, password });
export const confirmTotp = z.strictObject({ code: oneTimeCode });
export const addPasskey = z.strictObject({ name, answer: newPasskeyAnswer });
export const passkeyId = z.string().regex(/^[A-Za-z0-9_-]{1,1400}$/, 'is not the id of a passkey');

/** The codes are shown this once; absent where there are codes already. */
export const enrolled = z.object({ recoveryCodes: z.array(z.string()).optional() });
export const addedPasskey = passkey.extend(enrolled.shape);
export const recoveryCodes = z.object({ recoveryCodes: z.array(z.string()) });

export const signIn = z.object({
  id: z.string(),
  kind: z.enum(['browser', 'program']),
  client: z.string().nullable(),
  methods: z.array(z.string()),
  mfa: z.boolean(),
  provider: z.string().nullable(),
  createdAt: time,
  lastUsedAt: time,
  expiresAt: time,
  address: z.string().nullable(),
  userAgent: z.string().nullable().meta({ description: 'What the browser said of itself: untrusted text' }),
  current: z.boolean(),
});

export const ended = z.object({ ended: z.int() });

export type AccountView = z.infer<typeof account>;
export type PasskeyView = z.infer<typeof passkey>;
export type SignInView = z.infer<typeof signIn>;
export type ChangePassword = z.infer<typeof changePassword>;
export type AddPasskey = z.infer<typeof addPasskey>;
export type Enrolled = z.infer<typeof enrolled>;
export type RecoveryCodes = z.infer<typeof recoveryCodes>;
