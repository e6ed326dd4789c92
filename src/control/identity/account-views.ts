import type { PasskeyView, SignInView } from '../../contract/account-schemas.ts';
import type { InvitationView, UserView } from '../../contract/user-schemas.ts';
import type {
  InvitationRecord,
  PasskeyRecord,
  SignInRecord,
  UserRecord,
} from '../../store/identity-store.ts';

/** What people see of records of identity. Hashes and sealed secrets never leave here. */

export function passkeyView({ id, name, createdAt, lastUsedAt }: PasskeyRecord): PasskeyView {
  return { id, name, createdAt: timeText(createdAt), lastUsedAt: timeOrNull(lastUsedAt) };
}

export function signInView(record: SignInRecord, current: string | null): SignInView {
  const { id, kind, client, methods, mfa, provider, address, userAgent } = record;
  const { createdAt, lastUsedAt, expiresAt } = record;
  return {
    id,
    kind,
    client,
    methods: [...methods],
    mfa,
    provider,
    createdAt: timeText(createdAt),
    lastUsedAt: timeText(lastUsedAt),
    expiresAt: timeText(expiresAt),
    address,
    userAgent,
    current: id === current,
  };
}

export function userView(
  record: UserRecord,
  { teams, passkeys }: { teams: readonly string[]; passkeys: number },
): UserView {
  const { name, displayName, email, role, eligibleRoles, phase, passwordHash, totpSealed } = record;
  return {
    name,
    displayName,
    email,
    role,
    eligibleRoles: [...eligibleRoles],
    teams: [...teams],
    phase,
    password: passwordHash !== null,
    mfa: totpSealed !== null || passkeys > 0,
    createdAt: timeText(record.createdAt),
    lastSignInAt: timeOrNull(record.lastSignInAt),
  };
}

export function invitationView(record: InvitationRecord): InvitationView {
  const { id, name, email, role, teams, createdBy, createdAt, expiresAt } = record;
  return {
    id,
    name,
    email,
    role,
    teams: [...teams],
    createdBy,
    createdAt: timeText(createdAt),
    expiresAt: timeText(expiresAt),
  };
}

export function timeText(time: number): string {
  return new Date(time).toISOString();
}

export function timeOrNull(time: number | null): string | null {
  return time === null ? null : timeText(time);
}
