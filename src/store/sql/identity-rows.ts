import type { ActorId, Reach } from '../../model/actor.ts';
import type { CredentialId, ElevationId, InvitationId, KeyId, SignInId } from '../../model/ids.ts';
import type { GrantableScope } from '../../model/scopes.ts';
import type {
  AccessPolicyRecord,
  AgentCredentialKind,
  AgentCredentialRecord,
  AgentRecord,
  ElevationRecord,
  ElevationState,
  FlagRecord,
  InvitationRecord,
  PasskeyRecord,
  RevokedCredential,
  RoleRecord,
  SignInKind,
  SignInRecord,
  SigningKeyRecord,
  SigningKeyUse,
  UserPhase,
  UserRecord,
} from '../identity-store.ts';
import type {
  AccessPolicyRow,
  AgentCredentialRow,
  AgentRow,
  ElevationRow,
  FlagRow,
  InvitationRow,
  PasskeyRow,
  RoleRow,
  SignInRow,
  SigningKeyRow,
  UserRow,
} from './identity-tables.ts';

/** As in `rows.ts`: this program wrote the rows, so their text columns hold what their types say. */

export function userOf(row: UserRow): UserRecord {
  return {
    name: row.name,
    displayName: row.display_name,
    email: row.email,
    role: row.role,
    eligibleRoles: JSON.parse(row.eligible_roles) as string[],
    phase: row.phase as UserPhase,
    passwordHash: row.password_hash,
    totpSealed: row.totp_sealed,
    createdAt: row.created_at,
    lastSignInAt: row.last_sign_in_at,
    version: row.version,
  };
}

export function passkeyOf(row: PasskeyRow): PasskeyRecord {
  return {
    id: row.id,
    user: row.user,
    name: row.name,
    publicKey: row.public_key,
    counter: row.counter,
    transports: JSON.parse(row.transports) as string[],
    createdAt: row.created_at,
    lastUsedAt: row.last_used_at,
  };
}

export function invitationOf(row: InvitationRow): InvitationRecord {
  return {
    id: row.id as InvitationId,
    hash: row.hash,
    name: row.name,
    email: row.email,
    role: row.role,
    teams: JSON.parse(row.teams) as string[],
    createdBy: row.created_by as ActorId,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
  };
}

export function signInOf(row: SignInRow): SignInRecord {
  return {
    id: row.id as SignInId,
    kind: row.kind as SignInKind,
    actor: row.actor as ActorId,
    client: row.client,
    scopes: row.scopes === null ? null : (JSON.parse(row.scopes) as GrantableScope[]),
    reach: row.reach as Reach | null,
    egress: row.egress === null ? null : (JSON.parse(row.egress) as string[]),
    authAt: row.auth_at,
    methods: JSON.parse(row.methods) as string[],
    mfa: row.mfa === 1,
    provider: row.provider,
    providerSession: row.provider_session,
    onBehalfOf: row.on_behalf_of as ActorId | null,
    parent: row.parent,
    createdAt: row.created_at,
    idleMs: row.idle_ms,
    lastUsedAt: row.last_used_at,
    expiresAt: row.expires_at,
    address: row.address,
    userAgent: row.user_agent,
  };
}

export function roleOf(row: RoleRow): RoleRecord {
  return {
    name: row.name,
    description: row.description,
    scopes: JSON.parse(row.scopes) as GrantableScope[],
    reach: row.reach as Reach,
    createdAt: row.created_at,
    version: row.version,
  };
}

export function agentOf(row: AgentRow): AgentRecord {
  return {
    id: row.id as ActorId,
    displayName: row.display_name,
    owner: row.owner as ActorId,
    role: row.role,
    scopes: JSON.parse(row.scopes) as GrantableScope[],
    egress: row.egress === null ? null : (JSON.parse(row.egress) as string[]),
    phase: row.phase as UserPhase,
    createdAt: row.created_at,
    version: row.version,
  };
}

export function agentCredentialOf(row: AgentCredentialRow): AgentCredentialRecord {
  return {
    id: row.id as CredentialId,
    agent: row.agent as ActorId,
    kind: row.kind as AgentCredentialKind,
    name: row.name,
    proof: row.proof,
    material: row.material,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    lastUsedAt: row.last_used_at,
  };
}

export function revokedCredentialOf(
  row: Pick<AgentCredentialRow, 'id' | 'agent' | 'proof'> & { readonly revoked_at: number | null },
): RevokedCredential {
  const { id, agent, proof, revoked_at: revokedAt } = row;
  return { id: id as CredentialId, agent: agent as ActorId, proof, revokedAt: revokedAt! };
}

export function accessPolicyOf(row: AccessPolicyRow): AccessPolicyRecord {
  return {
    name: row.name,
    generation: row.generation,
    text: row.text,
    author: row.author as ActorId,
    reason: row.reason,
    createdAt: row.created_at,
  };
}

export function elevationOf(row: ElevationRow): ElevationRecord {
  return {
    id: row.id as ElevationId,
    user: row.user as ActorId,
    role: row.role,
    reason: row.reason,
    seconds: row.seconds,
    state: row.state as ElevationState,
    requestedAt: row.created_at,
    decidedBy: row.decided_by as ActorId | null,
    decidedAt: row.decided_at,
    expiresAt: row.expires_at,
  };
}

export function signingKeyOf(row: SigningKeyRow): SigningKeyRecord {
  return {
    id: row.id as KeyId,
    use: row.use as SigningKeyUse,
    public: row.public,
    sealed: row.sealed,
    createdAt: row.created_at,
    retiredAt: row.retired_at,
    expiresAt: row.expires_at,
  };
}

export function flagOf(row: FlagRow): FlagRecord {
  return {
    name: row.name,
    rule: row.rule,
    author: row.author as ActorId,
    changedAt: row.changed_at,
    version: row.version,
  };
}
