import { z } from 'zod';
import { id, name, pageQuery, time } from './schemas.ts';
import { userName } from './sign-in-schemas.ts';

/** What administrators see and change of people. */

export const invitationId = id('invitation', 'inv_01kamcq5r8v0x4m2e7hj9n3tzb');
export const invitationLimits = { secondsMax: 14 * 24 * 3600, secondsDefault: 3 * 24 * 3600 } as const;

export const passwordResetLimits = { secondsMax: 24 * 3600, secondsDefault: 3600 } as const;

const roleName = z.string().regex(/^[a-z][a-z0-9-]{0,62}$/, 'is not the name of a role');
const teamName = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'is not the name of a team');
const email = z.email().max(254);

export const userPhases = ['active', 'disabled'] as const;

export const user = z.object({
  name: z.string(),
  displayName: z.string().nullable(),
  email: z.string().nullable(),
  role: z.string(),
  eligibleRoles: z.array(z.string()),
  teams: z.array(z.string()),
  phase: z.enum(userPhases),
  password: z.boolean(),
  mfa: z.boolean().meta({ description: 'Whether a second factor is enrolled' }),
  createdAt: time,
  lastSignInAt: time.nullable(),
});

export const updateUser = z
  .strictObject({
    displayName: name.nullable().optional(),
    email: email.nullable().optional(),
    role: roleName.optional(),
    eligibleRoles: z.array(roleName).max(32).optional(),
  })
  .refine((change) => Object.keys(change).length > 0, { message: 'changes nothing' });

export const userQuery = pageQuery.extend({
  role: roleName.optional(),
  phase: z.enum(userPhases).optional(),
});

export const createInvitation = z.strictObject({
  name: userName.optional().meta({ description: 'Where absent, the invited chooses' }),
  email: email.optional(),
  role: roleName,
  teams: z.array(teamName).max(64).optional(),
  expiresInSeconds: z.int().min(60).max(invitationLimits.secondsMax).optional(),
});

export const invitation = z.object({
  id: z.string(),
  name: z.string().nullable(),
  email: z.string().nullable(),
  role: z.string(),
  teams: z.array(z.string()),
  createdBy: z.string(),
  createdAt: time,
  expiresAt: time,
});

/** The link is shown this once; it works once. */
export const createdInvitation = invitation.extend({ link: z.string() });

export const ticket = z.object({
  ticket: z.string().meta({ description: 'Works once, for two minutes, at POST /auth/ticket' }),
  expiresAt: time,
});

export const createPasswordReset = z.strictObject({
  expiresInSeconds: z.int().min(60).max(passwordResetLimits.secondsMax).optional(),
});

/** The link is shown this once; it works once, and a newer one ends it. */
export const passwordReset = z.object({ user: z.string(), link: z.string(), expiresAt: time });

export type UserView = z.infer<typeof user>;
export type UpdateUser = z.infer<typeof updateUser>;
export type CreateInvitation = z.infer<typeof createInvitation>;
export type InvitationView = z.infer<typeof invitation>;
export type CreatedInvitation = z.infer<typeof createdInvitation>;
export type CreatePasswordReset = z.infer<typeof createPasswordReset>;
export type PasswordResetView = z.infer<typeof passwordReset>;
export type TicketView = z.infer<typeof ticket>;
