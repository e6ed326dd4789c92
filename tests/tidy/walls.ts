/**
 * Who may import whom inside src/ and web/. A wall names files or folders, without an ending; everything that is not
 * named is out of reach. Tests import what they test and are not listed. ARCHITECTURE.md shows this table.
 */
export type Wall = { readonly folder: string; readonly mayImport: readonly string[]; readonly why: string };

const foundation = ['src/base', 'src/model', 'src/contract'] as const;

export const walls: readonly Wall[] = [
  {
    folder: 'src/base',
    mayImport: [],
    why: 'tiny generic pieces that know no word of the product, so that anything may stand on them',
  },
  {
    folder: 'src/model',
    mayImport: ['src/base'],
    why: 'decisions are pure: without schemas, store or sockets they can be read and tested alone',
  },
  {
    folder: 'src/contract',
    mayImport: ['src/base', 'src/model'],
    why: 'what programs say to each other is written once, in words of the model, for both sides',
  },
  {
    folder: 'src/redaction',
    mayImport: ['src/base'],
    why: 'finds secrets in texts; knows neither who holds them nor where texts go, so record and logs share it',
  },
  {
    folder: 'src/audit',
    mayImport: [...foundation, 'src/redaction'],
    why: 'the record must be verifiable without the server, so it knows neither store nor control',
  },
  {
    folder: 'src/store',
    mayImport: foundation,
    why: 'rows are kept and found here and nothing is decided, so PostgreSQL can take the place of SQLite',
  },
  {
    folder: 'src/identity',
    mayImport: [...foundation, 'src/store'],
    why: 'who a caller is comes from tokens in the store; what a caller may do is for access and control',
  },
  {
    folder: 'src/access',
    mayImport: foundation,
    why: 'what a caller may do is decided by policies alone: no store, no clock, no socket sways a decision',
  },
  {
    folder: 'src/flags',
    mayImport: [...foundation, 'src/store'],
    why: 'whether a feature is on is asked here by name; nothing here knows what the feature does',
  },
  {
    folder: 'src/sandbox',
    mayImport: foundation,
    why: 'holds untrusted programs: there must be no way from here to the store, the keys or the API',
  },
  {
    folder: 'src/gateway',
    mayImport: foundation,
    why: 'parses what sandboxes send; taken over, it must find neither credentials nor a way to the record',
  },
  {
    folder: 'src/runner',
    mayImport: [...foundation, 'src/redaction', 'src/audit', 'src/sandbox'],
    why: 'makes namespaces, hosts runs and keeps a record of its own of what it lets through; taken over, it can open neither the store nor control’s record',
  },
  {
    folder: 'src/control',
    mayImport: [
      ...foundation,
      ...['src/redaction', 'src/audit', 'src/store', 'src/identity', 'src/access', 'src/flags'],
    ],
    why: 'decides, records, acts; reaches sandboxes only by messages to the runner, so it needs no privilege',
  },
  {
    folder: 'src/server',
    mayImport: [...foundation, 'src/control', 'src/identity'],
    why: 'turns HTTP into use cases and back; with the store out of reach it cannot skip the gate',
  },
  {
    folder: 'src/client',
    mayImport: foundation,
    why: 'runs on the user’s machine and knows the server by its contract alone',
  },
  {
    folder: 'src/cli',
    mayImport: [
      ...foundation,
      'src/client',
      'src/audit/verify',
      'src/audit/verify-evidence',
      'src/audit/verify-recordings',
      'src/audit/verify-download',
      'src/audit/recording-check',
      'src/audit/checkpoint',
      'src/audit/signed-note',
      'src/audit/merkle-verify',
    ],
    why: 'reaches the server only through the client; verifying the record works offline, without a server',
  },
  {
    folder: 'web',
    mayImport: [
      'src/contract',
      'src/base/clock',
      'src/model/terminal',
      'src/client/attach/session',
      'src/client/attach/browser-socket',
    ],
    why: 'runs in browsers, where everybody reads it; reaches the server only by its documented routes, and terminals by the client that the command line has too',
  },
  {
    folder: 'src/main',
    mayImport: ['src', 'package.json'],
    why: 'one file per program: reads the configuration and picks implementations; nothing imports it',
  },
];

/** Node's own modules that a folder may use; folders not named here may use any. */
export const nodeWalls: readonly Wall[] = [
  {
    folder: 'src/model',
    mayImport: ['node:assert/strict', 'node:crypto'],
    why: 'the model does no I/O; randomness makes ids',
  },
  {
    folder: 'src/contract',
    mayImport: ['node:assert/strict'],
    why: 'schemas and tables do no I/O',
  },
  { folder: 'web', mayImport: [], why: 'there is no Node in a browser' },
];

/** The import table as ARCHITECTURE.md shows it. */
export function renderWalls(): string {
  const short = (path: string): string => `\`${path === 'src' ? 'anything' : path.replace(/^src\//, '')}\``;
  const rows = walls.map(
    ({ folder, mayImport, why }) =>
      `| ${short(folder)} | ${mayImport.map(short).join(', ') || 'nothing'} | ${why} |`,
  );
  return ['| folder | may import | why |', '|---|---|---|', ...rows].join('\n');
}

if (import.meta.main) console.log(renderWalls());
