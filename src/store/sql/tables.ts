import type { ColumnType, Selectable } from 'kysely';

/** The tables as SQL sees them. Times are milliseconds, flags 0 or 1, JSON is text. */
export type Tables = {
  sessions: SessionsTable;
  runs: RunsTable;
  uploads: UploadsTable;
  tokens: TokensTable;
  idempotency: IdempotencyTable;
};

type Fixed<T> = ColumnType<T, T, never>;

export type SessionsTable = {
  id: Fixed<string>;
  name: string | null;
  phase: string;
  owner: Fixed<string>;
  repo: Fixed<string | null>;
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
  spec: Fixed<string>;
  env: string | null;
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
  expires_at: Fixed<number | null>;
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

export type RunRow = Omit<Selectable<RunsTable>, 'env' | 'removed_at'>;
export type SessionRow = Selectable<SessionsTable> & { live_runs: number | null };
export type UploadRow = Selectable<UploadsTable>;
export type TokenRow = Omit<Selectable<TokensTable>, 'revoked_at'>;
