import type { ColumnType, Selectable } from 'kysely';

/** The tables of people, machines and their rights. Times are milliseconds, lists and rules JSON. */
export type IdentityTables = {
  users: UsersTable;
  user_externals: UserExternalsTable;
  recovery_codes: RecoveryCodesTable;
  passkeys: PasskeysTable;
  invitations: InvitationsTable;
  sign_ins: SignInsTable;
  refresh_tokens: RefreshTokensTable;
  one_times: OneTimesTable;
  teams: TeamsTable;
  team_members: TeamMembersTable;
  roles: RolesTable;
  agents: AgentsTable;
  agent_credentials: AgentCredentialsTable;
  access_policies: AccessPoliciesTable;
  elevations: ElevationsTable;
  signing_keys: SigningKeysTable;
  flags: FlagsTable;
  attempts: AttemptsTable;
  identity_changes: IdentityChangesTable;
  identity_change_counter: IdentityChangeCounterTable;
};

type Fixed<T> = ColumnType<T, T, never>;

/** A removed user keeps its row, so that its name is never free again; what it could sign in with is gone. */
export type UsersTable = {
  name: Fixed<string>;
  display_name: string | null;
  email: string | null;
  role: string;
  eligible_roles: string;
  phase: string;
  password_hash: string | null;
  totp_sealed: string | null;
  /** The last step of time whose code was taken. */
  totp_step: number | null;
  created_at: Fixed<number>;
  last_sign_in_at: number | null;
  removed_at: number | null;
  version: number;
};

export type UserExternalsTable = { provider: Fixed<string>; subject: Fixed<string>; user: Fixed<string> };

export type RecoveryCodesTable = { user: Fixed<string>; hash: Fixed<string> };

export type PasskeysTable = {
  id: Fixed<string>;
  user: Fixed<string>;
  name: Fixed<string>;
  public_key: Fixed<string>;
  counter: number;
  transports: Fixed<string>;
  created_at: Fixed<number>;
  last_used_at: number | null;
};

export type InvitationsTable = {
  id: Fixed<string>;
  hash: Fixed<string>;
  name: Fixed<string | null>;
  email: Fixed<string | null>;
  role: Fixed<string>;
  teams: Fixed<string>;
  created_by: Fixed<string>;
  created_at: Fixed<number>;
  expires_at: Fixed<number>;
  used_at: number | null;
  revoked_at: number | null;
};

export type SignInsTable = {
  id: Fixed<string>;
  kind: Fixed<string>;
  /** SHA-256 of the cookie, hex; null for what is not a browser's. */
  cookie: string | null;
  actor: Fixed<string>;
  client: Fixed<string | null>;
  scopes: Fixed<string | null>;
  reach: Fixed<string | null>;
  egress: Fixed<string | null>;
  auth_at: number;
  methods: string;
  mfa: number;
  provider: Fixed<string | null>;
  provider_session: Fixed<string | null>;
  on_behalf_of: Fixed<string | null>;
  parent: Fixed<string | null>;
  created_at: Fixed<number>;
  idle_ms: Fixed<number>;
  last_used_at: number;
  expires_at: Fixed<number>;
  address: Fixed<string | null>;
  user_agent: Fixed<string | null>;
  revoked_at: number | null;
  revoked_for: string | null;
};

/** A token stays after its use, so that a second use is known for what it is. */
export type RefreshTokensTable = { hash: Fixed<string>; sign_in: Fixed<string>; used_at: number | null };

export type OneTimesTable = {
  kind: Fixed<string>;
  hash: Fixed<string>;
  data: string;
  expires_at: Fixed<number>;
};

export type TeamsTable = {
  name: Fixed<string>;
  description: string | null;
  created_at: number;
  removed_at: number | null;
  version: number;
};

export type TeamMembersTable = { team: Fixed<string>; actor: Fixed<string> };

export type RolesTable = {
  name: Fixed<string>;
  description: string | null;
  scopes: string;
  reach: string;
  created_at: number;
  removed_at: number | null;
  version: number;
};

export type AgentsTable = {
  id: Fixed<string>;
  display_name: string | null;
  owner: string;
  role: string;
  scopes: string;
  egress: string | null;
  phase: string;
  created_at: Fixed<number>;
  removed_at: number | null;
  version: number;
};

export type AgentCredentialsTable = {
  id: Fixed<string>;
  agent: Fixed<string>;
  kind: Fixed<string>;
  name: Fixed<string | null>;
  proof: Fixed<string>;
  material: Fixed<string | null>;
  created_at: Fixed<number>;
  expires_at: Fixed<number | null>;
  last_used_at: number | null;
  revoked_at: number | null;
};

export type AccessPoliciesTable = {
  name: Fixed<string>;
  generation: Fixed<number>;
  /** 1 for the newest generation of a name, 0 for the others. */
  current: number;
  text: Fixed<string | null>;
  author: Fixed<string>;
  reason: Fixed<string | null>;
  created_at: Fixed<number>;
};

export type ElevationsTable = {
  id: Fixed<string>;
  user: Fixed<string>;
  role: Fixed<string>;
  reason: Fixed<string>;
  seconds: Fixed<number>;
  state: string;
  /** When it was requested. */
  created_at: Fixed<number>;
  decided_by: string | null;
  decided_at: number | null;
  expires_at: number | null;
};

export type SigningKeysTable = {
  id: Fixed<string>;
  use: Fixed<string>;
  public: Fixed<string>;
  sealed: Fixed<string>;
  created_at: Fixed<number>;
  retired_at: number | null;
  expires_at: number | null;
};

export type FlagsTable = {
  name: Fixed<string>;
  rule: string;
  author: string;
  changed_at: number;
  removed_at: number | null;
  version: number;
};

export type AttemptsTable = { key: Fixed<string>; count: number; ends_at: number };

export type IdentityChangesTable = {
  seq: Fixed<number>;
  kind: Fixed<string>;
  id: Fixed<string>;
  at: Fixed<number>;
};

/** One row, locked until its writer has committed: so the numbers are in the order of the commits. */
export type IdentityChangeCounterTable = { id: Fixed<number>; seq: number };

export type UserRow = Omit<Selectable<UsersTable>, 'totp_step' | 'removed_at'>;
export type PasskeyRow = Selectable<PasskeysTable>;
export type InvitationRow = Omit<Selectable<InvitationsTable>, 'used_at' | 'revoked_at'>;
export type SignInRow = Selectable<SignInsTable>;
export type TeamRow = Omit<Selectable<TeamsTable>, 'removed_at'>;
export type RoleRow = Omit<Selectable<RolesTable>, 'removed_at'>;
export type AgentRow = Omit<Selectable<AgentsTable>, 'removed_at'>;
export type AgentCredentialRow = Omit<Selectable<AgentCredentialsTable>, 'revoked_at'>;
export type AccessPolicyRow = Omit<Selectable<AccessPoliciesTable>, 'current'>;
export type ElevationRow = Selectable<ElevationsTable>;
export type SigningKeyRow = Selectable<SigningKeysTable>;
export type FlagRow = Omit<Selectable<FlagsTable>, 'removed_at'>;
