import type { ColumnType, Selectable } from 'kysely';
import type { IdentityTables } from './identity-tables.ts';

/** The tables as SQL sees them. Times are milliseconds, flags 0 or 1, JSON is text. */
export type Tables = IdentityTables & {
  sessions: SessionsTable;
  runs: RunsTable;
  uploads: UploadsTable;
  tokens: TokensTable;
  idempotency: IdempotencyTable;
  policies: PoliciesTable;
  flows: FlowsTable;
};

type Fixed<T> = ColumnType<T, T, never>;

export type SessionsTable = {
  id: Fixed<string>;
  name: string | null;
  phase: string;
  owner: Fixed<string>;
  team: string | null;
  repo: Fixed<string | null>;
  egress_names: Fixed<string>;
  egress_reason: Fixed<string | null>;
  /** Null for off, which is what sessions from before have. */
  attach: string | null;
  created_at: Fixed<number>;
  closed_at: number | null;
  version: number;
};

export type RunsTable = {
  id: Fixed<string>;
  session: Fixed<string>;
  parent: Fixed<string | null>;
  name: string | null;
  owner: Fixed<string>;
  team: string | null;
  spec: Fixed<string>;
  env: string | null;
  egress_names: Fixed<string>;
  egress_reason: Fixed<string | null>;
  egress_generation: number;
  terminal: Fixed<string | null>;
  priority: Fixed<number>;
  phase: string;
  created_at: Fixed<number>;
  starting_at: number | null;
  running_at: number | null;
  finished_at: number | null;
  cause: string | null;
  reason: string | null;
  exit_code: number | null;
  exit_signal: string | null;
  stop_requested_at: number | null;
  held_by: string | null;
  usage: string | null;
  artifacts: string;
  files_expired: number;
  removed_at: number | null;
  version: number;
};

export type UploadsTable = {
  id: Fixed<string>;
  owner: Fixed<string>;
  created_at: number;
  bytes: number | null;
  sha256: string | null;
  session: string | null;
};

export type TokensTable = {
  id: Fixed<string>;
  name: Fixed<string>;
  actor: Fixed<string>;
  scopes: Fixed<string>;
  reach: Fixed<string>;
  hash: Fixed<string>;
  created_at: Fixed<number>;
  expires_at: number | null;
  last_used_at: number | null;
  revoked_at: number | null;
};

export type IdempotencyTable = {
  actor: Fixed<string>;
  key: Fixed<string>;
  digest: Fixed<string>;
  resource: Fixed<string>;
  created_at: Fixed<number>;
};

export type PoliciesTable = {
  name: Fixed<string>;
  generation: Fixed<number>;
  /** 1 for the newest generation of a name, 0 for the others. */
  current: number;
  document: Fixed<string | null>;
  owner: Fixed<string>;
  team: string | null;
  author: Fixed<string>;
  reason: Fixed<string | null>;
  created_at: Fixed<number>;
};

export type FlowsTable = {
  run: Fixed<string>;
  id: Fixed<number>;
  at: Fixed<number>;
  host: Fixed<string | null>;
  address: Fixed<string | null>;
  port: Fixed<number>;
  protocol: Fixed<string | null>;
  method: Fixed<string | null>;
  path: Fixed<string | null>;
  verdict: Fixed<string>;
  rule: Fixed<string | null>;
  denial: Fixed<string | null>;
  generation: Fixed<number>;
  count: Fixed<number>;
  ended_at: number | null;
  bytes_out: number | null;
  bytes_in: number | null;
  outcome: string | null;
};

export type RunRow = Omit<Selectable<RunsTable>, 'env' | 'removed_at'>;
export type SessionRow = Selectable<SessionsTable> & { live_runs: number | null };
export type UploadRow = Selectable<UploadsTable>;
export type TokenRow = Omit<Selectable<TokensTable>, 'revoked_at'>;
export type PolicyRow = Omit<Selectable<PoliciesTable>, 'current'>;
export type FlowRow = Selectable<FlowsTable>;
